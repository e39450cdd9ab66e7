# shellcheck shell=bash
# The cluster of the current kubeconfig. It is somebody else's: it is neither started nor stopped here, and its
# nodes get the images from a registry (REGISTRY=…: the images are pushed there).

current_up() {
  current_build
  kubectl version >/dev/null || die "CLUSTER=current: the current kubeconfig reaches no cluster"
  current_kubeconfig
}

current_down() { say "CLUSTER=current: the cluster is left as it is"; }

current_load() {
  [ -n "${REGISTRY:-}" ] || die "CLUSTER=current needs REGISTRY=host/path, which the nodes can pull from"
  local name
  name=$(basename "$1" .tar)
  buildah push "localhost/redisqueue-$name:test" "docker://$REGISTRY/redisqueue-$name:test"
}

current_artifact() { # IMAGE: in the registry, by its digest
  [ -n "${REGISTRY:-}" ] || die "CLUSTER=current needs REGISTRY=host/path, which the nodes can pull from"
  local name=$REGISTRY/${1##*/}
  buildah push -q --digestfile "$cache/artifact.digest" "$1:$image_tag" "docker://$name:$image_tag" >&2
  echo "$name@$(cat "$cache/artifact.digest")"
  rm -f "$cache/artifact.digest"
}

current_kubeconfig() { echo "${KUBECONFIG:-$HOME/.kube/config}"; }

current_status() { echo "provider: current ($(current_kubeconfig))" && kubectl get nodes -o wide; }

current_host() { echo "${HOST_ADDRESS:?CLUSTER=current needs HOST_ADDRESS, at which pods reach this machine}"; }

current_kill() { die "CLUSTER=current has no way to a node's processes"; }
