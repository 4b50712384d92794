"""Uses of an energy: inpainting, denoising, interpolation, outliers, classes."""
