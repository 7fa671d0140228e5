"""The Kubernetes REST face: a thin shell that translates HTTP into calls of ``Api`` and back."""

from knarr.service.late import postpone

# Its own module loads a command line, and what watches files and other processes: a twentieth of what a start loads beside ours.
postpone("uvicorn", {"Config": "uvicorn.config"})
