"""What the emulator keeps: documents, blobs, and what has reached it lately."""
