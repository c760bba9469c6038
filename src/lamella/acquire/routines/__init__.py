"""What a session does beside recording: eucentric height, focus, tracking."""
