"""Who runs the chunks of a sweep: threads, processes, a cluster. None changes what a row holds."""
