"""Values, rules and errors of Assay. Imports the standard library only."""
