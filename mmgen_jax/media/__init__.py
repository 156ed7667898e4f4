"""Images, audio and plots on the host."""
