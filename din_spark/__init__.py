"""The second engine: features, tables of a lake and scoring on Apache Spark."""
