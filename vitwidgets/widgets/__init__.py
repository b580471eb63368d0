"""The widgets: panels, and the two models without a face that panels share."""
