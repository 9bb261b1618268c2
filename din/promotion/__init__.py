"""Promote a finished run, and reproduce a promoted one."""
