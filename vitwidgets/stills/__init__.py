"""Still pictures of panels that are not maps of the image."""
