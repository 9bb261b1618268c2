"""dvc.yaml on Airflow: parse and plan (plan.py), run in isolation (workspace.py), render (din_pipeline.py).

The DAG bundle is the whole repository, so that a pinned bundle version pins dvc.yaml and these modules together;
`.airflowignore` keeps Airflow from looking elsewhere. Stages are commands: of `din` only light modules are imported
here (errors, names, params, workspace, artifacts), of `validation` none.
"""
