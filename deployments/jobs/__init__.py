"""Work that outlives requests and processes: jobs, their media, and files, all kept outside replicas."""
