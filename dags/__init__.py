"""dvc.yaml on Airflow and other schedulers: run in isolation (pinned_run.py), and rendered as a DAG (airflow_dag.py).

A task locks and checks out the run's workspace here (checkout.py). The rest runs in the checkout, with the code of the
run's commit: worker.py, with DVC in outs.py. All other modules import only light modules of `din`, and none of
`validation`, so that a DAG file parses fast.

The DAG bundle is the whole repository, so that a pinned bundle version pins dvc.yaml and these modules together.
`.airflowignore` keeps Airflow from looking for DAGs elsewhere.
"""
