"""Where points come from: toy sets, tables, images, and streams of batches of them."""
