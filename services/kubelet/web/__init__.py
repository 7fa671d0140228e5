"""What a kubelet serves by HTTPS, as Kubernetes' does: metrics, statistics, pods, logs."""
