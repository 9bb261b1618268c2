"""dvc.yaml on Airflow: parse and plan (plan.py), run in isolation (workspace.py), render (airflow_dag.py).

The DAG bundle is the whole repository, so that a pinned bundle version pins dvc.yaml and these modules together.
`.airflowignore` keeps Airflow from looking for DAGs elsewhere. Stages run as commands. Only light modules of `din` are
imported here (errors, names, params, workspace, process, git, artifacts), and none of `validation`.
"""
