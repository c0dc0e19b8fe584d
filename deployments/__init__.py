"""The Ray Serve application: HTTP in front, one deployment for each part of the model behind."""
