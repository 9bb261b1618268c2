"""Answer requests over HTTP with the champion of a registry, and follow promotions and rollbacks without a restart.

    settings.py       the options of `din serve`
    deployment.py     the bundle that answers now, and the watch that replaces it
    trial.py          the conditions for a bundle to answer
    trial_results.py  the results of trials, which the processes of a machine share
    admission.py      what is refused before it is read
    bodies.py         bodies, with limits on bytes and time
    answers.py        from a body to its answer
    explanations.py   what moved a score, in an answer
    open_inference.py another form of requests and answers, which KServe speaks
    shadow.py         a challenger that is scored beside the champion
    answer_log.py     the log of what was answered
    workers.py        threads that score, a bounded queue, and a time limit
    app.py            the routes
    openapi.py        their description, from the bundle's signature
    metrics.py        figures for Prometheus
    run.py            the processes

This package needs the extra `server`, and no torch.
"""
