"""One recipe for each trained part."""
