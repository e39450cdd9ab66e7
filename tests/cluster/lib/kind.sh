# shellcheck shell=bash
# kind on a running Docker: the usual way on a developer's machine.

kind_name=redisqueue

kind_up() {
  kind_build
  kind_down
  step "start the kind cluster" kind create cluster --name $kind_name --kubeconfig "$kubeconfig" --wait 120s \
    ${KUBERNETES:+--image "kindest/node:v$kubernetes_version"}
  echo "$kubeconfig"
}

kind_down() {
  kind delete cluster --name $kind_name --kubeconfig "$kubeconfig" >&2
  rm -f "$kubeconfig"
}

kind_load() { kind load image-archive --name $kind_name "$1" >&2; }

kind_artifact() { # IMAGE: by its tag, since it never was in a registry
  docker save -o "$cache/artifact.tar" "$1:$image_tag"
  kind_load "$cache/artifact.tar"
  rm -f "$cache/artifact.tar"
  echo "$1:$image_tag"
}

kind_kubeconfig() { native_kubeconfig; }

kind_status() {
  echo "provider: kind"
  if [ -f "$kubeconfig" ]; then kubectl --kubeconfig "$kubeconfig" get nodes -o wide; else echo "cluster: down"; fi
}

kind_host() { docker network inspect kind --format '{{range .IPAM.Config}}{{println .Gateway}}{{end}}' | grep -m1 '\.'; }

kind_kill() { docker exec -i $kind_name-control-plane bash -c "$(declare -f kill_pod); kill_pod $1 /sys/fs/cgroup"; }

kind_inside() { docker exec -i $kind_name-control-plane "$@"; }
