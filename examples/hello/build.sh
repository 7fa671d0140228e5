#!/usr/bin/env bash
# Builds the image `hello:1` (2 MB) from the machine's static busybox, without a registry: an HTTP
# server that answers every request with the name of the pod that took it, and logs it.
set -euo pipefail
image=${1:-hello:1}
# An image that another version of this script has built is built again.
build=$(sha256sum "$0" | cut -d' ' -f1)
if [ "$(docker image inspect --format '{{index .Config.Labels "knarr.build"}}' "$image" 2>/dev/null)" = "$build" ]; then exit 0; fi
busybox=$(command -v busybox) || { echo "error: busybox is missing; apt-get install busybox-static" >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,etc,tmp,www/cgi-bin}
cp "$busybox" "$root/bin/busybox"
for applet in sh httpd hostname sleep wget nc cat ls ps env kill; do ln -s busybox "$root/bin/$applet"; done
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
cat >"$root/www/cgi-bin/index.cgi" <<'SCRIPT'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\nhello from %s\n' "$(hostname)"
# The log of the container; the kubelet's probes, every other second, would be all that it shows.
case "$HTTP_USER_AGENT" in kube-probe/*) ;; *) echo "$REMOTE_ADDR $REQUEST_METHOD $REQUEST_URI" >&2 ;; esac
SCRIPT
cat >"$root/bin/serve" <<'SCRIPT'
#!/bin/sh
# The first process of a container gets no default signal handling: without this, SIGTERM would be
# ignored and every stop would take the whole grace period.
trap 'kill $! 2>/dev/null; exit 0' TERM INT
echo 'listening on port 8080'
httpd -f -p 8080 -h /www &
wait
SCRIPT
chmod +x "$root/www/cgi-bin/index.cgi" "$root/bin/serve"
tar -C "$root" -c . | docker import \
    --change "LABEL knarr.build=$build" --change 'CMD ["/bin/serve"]' --change 'EXPOSE 8080' - "$image" >/dev/null
