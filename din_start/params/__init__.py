"""Files generated from the parameters: params.yaml, its schema, and the page of the documentation."""
