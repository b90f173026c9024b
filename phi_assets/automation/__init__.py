"""What starts runs: jobs for people, and conditions and sensors for what happens outside."""
