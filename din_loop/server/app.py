"""The routes of the server.

A body is read with a limit on its bytes and on its time, and parsed and scored by a thread. Scores name the version
that made them, and every error is one line: 400 cut off or not HTTP/1.1, 408 too slow, 413 too large, 415 compressed,
422 wrong, 500 a bug, 503 busy, 504 late. A busy server says so before it reads the body.
"""

import contextlib
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from din.base.errors import InputError, listed, shown
from din_loop.server import answers, metrics, open_inference
from din_loop.server.admission import BUSY, Admission
from din_loop.server.answer_log import AnswerLog, Scored
from din_loop.server.answers import Answer, Answering
from din_loop.server.bodies import RETRY, Bodies, parsed_bytes
from din_loop.server.deployment import Deployment
from din_loop.server.openapi import description
from din_loop.server.shadow import Challenger
from din_loop.server.workers import BusyError, LateError, Workers

_LOG = logging.getLogger("din_loop.server")
_SLOW_LOG_GAP = 1.0
"""The seconds between two lines of the log about slow requests: a slow server must not drown in its log."""
_WATCH_NICENESS = 19
"""The niceness of the thread that tries new bundles: while it does, answers come first. 19 is the lowest priority."""
_SWITCH_SECONDS = 0.0005
"""The time after which a thread lets another one run Python. An answer waits that long several times, whenever threads
change while the watch tries a bundle or a challenger scores. Python's own 5 ms would double the slowest answers."""

_OBJECTS = 10_000
"""The new objects after which Python looks for garbage. Its own 700 triple the time to parse a list of many lists."""


def app(deployment: Deployment, challenger: Challenger) -> Starlette:
    """Return the server of a deployment."""
    server = Server(deployment, challenger)
    served = Starlette(
        routes=[
            Route("/v1/score", server.score, methods=["POST"]),
            Route("/v1/model", server.model),
            Route("/v2/health/live", server.live),
            Route("/v2/health/ready", server.ready),
            Route("/metrics", server.metrics),
            Route("/openapi.json", server.openapi),
            *open_inference.routes(
                deployment.settings.model, lambda: deployment.serving, server.answered, server.ready
            ),
        ],
        middleware=[Middleware(Admission, is_full=server.is_full)],
        exception_handlers={HTTPException: _no_route, Exception: _bug},
        lifespan=server.lifespan,
    )
    served.router.redirect_slashes = False  # a redirect would send clients to whatever Host they named
    return served


@dataclass
class _Times:
    """When an answer began, when each of its steps ended, in seconds of the monotonic clock, and the answer itself."""

    began: float = field(default_factory=time.monotonic)
    ends: dict[str, float] = field(default_factory=dict)
    answer: Answer | None = None

    @property
    def passed(self) -> float:
        """The seconds since the beginning."""
        return time.monotonic() - self.began

    def end(self, step: str) -> None:
        """Note that a step has ended."""
        self.ends[step] = time.monotonic()

    def __str__(self) -> str:
        """Return the duration of each step that has ended, and what was answered."""
        steps = zip(self.ends, pairwise([self.began, *self.ends.values()]), strict=True)
        durations = ", ".join(f"{step} {1e3 * (end - start):.1f} ms" for step, (start, end) in steps)
        return ", ".join([durations or "waiting for the body", *([str(self.answer)] if self.answer else [])])


class Server:
    """The routes, and what they share."""

    def __init__(self, deployment: Deployment, challenger: Challenger) -> None:
        settings = deployment.settings
        self._deployment = deployment
        self._settings = settings
        self._workers = Workers(settings.threads, settings.queue)
        self._slow_at = 0.0
        self._bodies = Bodies(settings.limits.request_bytes, settings.timeout)
        self._log = AnswerLog.of(settings)
        self._shadow = challenger.shadow
        self._no_shadow_because = challenger.missing_because
        metrics.SHADOW_ON.set(self._shadow is not None)

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Watch the registry and write the log while the server runs."""
        sys.setswitchinterval(_SWITCH_SECONDS)
        gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
        watch = threading.Thread(target=self._watch, name="watch", daemon=True)
        watch.start()
        if self._log:
            self._log.start()
        if self._shadow:
            self._shadow.start()
        yield
        self._deployment.close()
        self._workers.close()
        if self._log:
            self._log.close()
        if self._shadow:
            self._shadow.close()

    def is_full(self) -> bool:
        """Return whether a request is refused now, because too many wait."""
        return self._workers.is_full(self._settings.timeout)

    async def score(self, request: Request) -> Response:
        """Answer one request or a list of requests."""
        explain = request.query_params.get("explain", "0")
        return await self.answered(request, partial(answers.score, explain=explain), "explain")

    async def answered(self, request: Request, answer: Answering, *parameters: str) -> Response:
        """Let a thread answer a request in time, and count it. Its query may have these parameters."""
        times = _Times()
        try:
            for name in request.query_params:
                if name not in parameters:
                    raise HTTPException(422, f"query: {shown(name)} is unknown; valid: {listed(parameters) or 'none'}")
            response = await self._scored(request, answer, times)
        except HTTPException as error:
            response = await _one_line(request, error)
        metrics.ANSWERS.labels(response.status_code).inc()
        seconds = times.passed
        metrics.SECONDS.observe(seconds)
        if seconds >= self._settings.slow and times.began - self._slow_at >= _SLOW_LOG_GAP:
            self._slow_at = times.began
            _LOG.warning("slow request: %.1f ms in all, %s; status %d", 1e3 * seconds, times, response.status_code)
        return response

    async def model(self, _: Request) -> Response:
        """Return the bundle that answers, where it comes from, and how to call it."""
        return JSONResponse(await run_in_threadpool(self._facts))

    async def live(self, _: Request) -> Response:
        """Answer as long as the process lives."""
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        """Say which bundle answers, how old the knowledge of the registry is, and whether its champion is refused.

        While the server is full it is not ready, so that others get the requests.
        """
        ready = not self.is_full()
        deployment = self._deployment
        serving = deployment.serving
        refused = deployment.refused
        champion = deployment.champion
        age = deployment.registry_age
        shadow = self._shadow
        return JSONResponse(
            {
                "ready": ready,
                "record": serving.record.number,
                "version": serving.scorer.version,
                "champion": champion and champion.number,
                "registry": {"seconds_ago": age and round(age, 1), "problem": deployment.problem},
                "refused": refused
                and {"record": refused.record.number, "reason": refused.reason, "again_in": refused.seconds_left},
                "shadow": (shadow and {"version": shadow.scorer.version, "problem": shadow.problem})
                or (self._no_shadow_because and {"version": None, "problem": self._no_shadow_because}),
            },
            status_code=200 if ready else 503,
            headers=None if ready else RETRY,
        )

    async def metrics(self, _: Request) -> Response:
        """Return the figures for Prometheus."""
        return Response(await run_in_threadpool(metrics.page), media_type="text/plain; version=0.0.4")

    async def openapi(self, _: Request) -> Response:
        """Return the description of the routes."""
        scorer = self._deployment.serving.scorer
        return JSONResponse(await run_in_threadpool(description, scorer, self._settings))

    async def _scored(self, request: Request, answer: Answering, times: _Times) -> Response:
        settings = self._settings
        body = await self._bodies.read(request)
        times.end("body")
        serving = self._deployment.serving

        def scored() -> tuple[Answer, list[Scored], int]:
            times.end("wait")
            size = parsed_bytes(body, settings.limits.request_bytes)
            result = answer(serving, body, self._log is not None)
            return result, self._log.drawn(result) if self._log else [], size

        release = partial(self._bodies.release, len(body))
        try:
            result, drawn, size = await self._workers.run(scored, settings.timeout - times.passed, release)
        except BusyError:
            raise HTTPException(503, BUSY, RETRY) from None
        except LateError:
            message = f"no answer within {settings.timeout:g} s; send fewer candidates, or raise --timeout"
            raise HTTPException(504, message, RETRY) from None
        except InputError as error:
            raise HTTPException(422, str(error)) from None
        except MemoryError:
            raise HTTPException(503, "too little memory; try again in a second", RETRY) from None
        finally:
            times.end("score" if "wait" in times.ends else "wait")
        times.answer = result
        self._deployment.keep(result.requests, size)
        if self._log:
            self._log.put(drawn, size)
        if self._shadow:
            self._shadow.put(result, size)
        metrics.SCORES.labels(result.version).inc(result.candidates)
        return Response(result.content, media_type="application/json")

    def _watch(self) -> None:
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            with contextlib.suppress(OSError):  # a sandbox may forbid it, and the watch must run anyway
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _WATCH_NICENESS)
        self._deployment.watch()

    def _facts(self) -> dict[str, object]:
        serving = self._deployment.serving
        scorer = serving.scorer
        record = ("number", "action", "at", "by", "reason", "run_id")
        return {
            "version": scorer.version,
            "record": {key: getattr(serving.record, key) for key in record},
            "max_history": scorer.max_history,
            "fields": {field.name: {"group": str(field.group), "kind": str(field.kind)} for field in scorer.fields},
            "example": scorer.example(),
            "facts": serving.facts.model_dump(mode="json", exclude_unset=True),
        }


async def _one_line(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _no_route(request: Request, error: Exception) -> Response:
    response = await _one_line(request, error)
    metrics.ANSWERS.labels(response.status_code).inc()
    return response


async def _bug(_: Request, error: Exception) -> Response:
    metrics.ANSWERS.labels(500).inc()
    return JSONResponse({"error": f"a bug: {type(error).__name__}; the server's log has more"}, 500)
