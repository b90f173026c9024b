"""From the body of a pipeline job to the processes that it means."""
