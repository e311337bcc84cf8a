"""Files and rows: what is read, what is scored and saved, and the files that long runs keep."""
