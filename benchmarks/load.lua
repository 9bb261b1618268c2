-- For wrk: send bodies from a file, a line each, after a pause. Arguments: FILE MEAN_PAUSE_MS even|random
-- Random pauses are exponentially distributed, so the requests of many connections come independently of each other.

local bodies = {}
local pause, is_random

function init(args)
  for line in io.lines(args[1]) do
    table.insert(bodies, wrk.format("POST", nil, nil, line))
  end
  pause = tonumber(args[2])
  is_random = args[3] == "random"
end

function request()
  return bodies[math.random(#bodies)]
end

function delay()
  return is_random and -pause * math.log(1 - math.random()) or pause
end

function done(summary, latency)
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  local p50, p99 = latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
  local found = {summary.requests, summary.duration / 1e6, errors.status, lost, p50, p99}
  print("RESULT [" .. table.concat(found, ", ") .. "]")
end
