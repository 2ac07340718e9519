"""What people look at: pictures, and the page about a run."""
