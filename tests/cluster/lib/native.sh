# shellcheck shell=bash
# One node in namespaces of its own (processes, mounts, network): when its first process ends, the kernel
# takes down everything in it, so that even a crash leaves only files, a cgroup and nothing that runs.

node_ip=10.199.0.2
host_ip=10.199.0.1 # what pods call to reach a server of this machine
pod_network=10.244.0.0/24
service_network=10.96.0.0/16

# The first process of the node. It is found by its arguments, so that no file has to be right after a crash.
node_pid() { pgrep -f "^[^ ]*bash [^ ]*/lib/node $state "; }

native_up() {
  native_build
  native_down
  mkdir -p "$state"/{log,cert,cni}
  step "start the native cluster" native_start
  say "the cluster is up; pods reach this machine as $host_ip"
  echo "$kubeconfig"
}

native_start() {
  native_configure
  modprobe -qa br_netfilter overlay 2>/dev/null || true
  for controller in $(cgroup_controllers); do mkdir -p "$controller/redisqueue"; done
  setsid unshare --net --mount --pid --fork --kill-child=KILL --mount-proc \
    "$here/lib/node" "$state" "$bin" "$node_ip" "$service_network" >"$state/log/node.log" 2>&1 </dev/null 9>&- &
  until_ok 10 test -e "$state/namespaces-ready"
  ip link add rq0 type veth peer name rq1
  ip link set rq1 netns "$(node_pid)"
  ip addr add $host_ip/30 dev rq0
  ip link set rq0 up
  ip route add $pod_network via $node_ip dev rq0
  ip route add $service_network via $node_ip dev rq0
  until_ok 60 kubectl --kubeconfig "$kubeconfig" get --raw /readyz
  until_ok 60 ctr -a "$state/containerd.sock" version
  native_load "$cache/pause.tar"
  touch "$state/images-ready"
  until_ok 60 kubectl --kubeconfig "$kubeconfig" wait node/node1 --for=condition=Ready --timeout=5s
  until_ok 30 kubectl --kubeconfig "$kubeconfig" -n default get serviceaccount default
}

cgroup_controllers() {
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup; else
    awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts
  fi
}

native_configure() {
  local token
  openssl genrsa -out "$state/cert/service-accounts.key" 2048
  openssl rsa -in "$state/cert/service-accounts.key" -pubout -out "$state/cert/service-accounts.pub"
  token=$(openssl rand -hex 16)
  (umask 077 && echo "$token,admin,admin,\"system:masters\"" >"$state/tokens.csv" && cat >"$kubeconfig" <<YAML)
apiVersion: v1
kind: Config
clusters: [{name: redisqueue, cluster: {server: "https://$node_ip:6443", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: redisqueue, context: {cluster: redisqueue, user: admin}}]
current-context: redisqueue
YAML
  cat >"$state/cni/10-pods.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$state/ipam", "ranges": [[{"subnet": "$pod_network"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
  cat >"$state/containerd.toml" <<TOML
version = 2
root = "$state/containerd/root"
state = "$state/containerd/state"
[grpc]
  address = "$state/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:3.10"
  # Not every machine lets even root lower an OOM score.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$state/cni"
TOML
  cat >"$state/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
cgroupRoot: /redisqueue
failSwapOn: false
failCgroupV1: false
containerRuntimeEndpoint: unix://$state/containerd.sock
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
clusterDNS: [$node_ip]
clusterDomain: cluster.local
resolvConf: ""
# The disk and the memory are the machine's: a test cluster evicts nothing for them.
evictionHard: {imagefs.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.inodesFree: "0%", memory.available: "0%"}
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
YAML
  cat >"$state/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: $kubeconfig}
clusterCIDR: $pod_network
hostnameOverride: node1
conntrack: {maxPerCore: 0}
YAML
  cat >"$state/Corefile" <<COREDNS
.:53 {
  bind $node_ip
  kubernetes cluster.local {
    kubeconfig $kubeconfig redisqueue
  }
  errors
  cache 5
}
COREDNS
}

native_load() { ctr -a "$state/containerd.sock" -n k8s.io images import "$1" >&2; }

native_artifact() { # IMAGE: with its digest, as a registry would give it
  local archive=$cache/artifact.tar named
  rm -f "$archive"
  buildah push -q --digestfile "$archive.digest" "$1:$image_tag" "oci-archive:$archive:$1:$image_tag" >&2
  native_load "$archive"
  named=$1@$(cat "$archive.digest")
  ctr -a "$state/containerd.sock" -n k8s.io images tag --force "$1:$image_tag" "$named" >&2
  rm -f "$archive" "$archive.digest"
  echo "$named"
}

native_down() {
  local pid controller
  if pid=$(node_pid); then kill -KILL "$pid"; fi
  until_ok 15 native_gone || die "some processes of the node did not end; their cgroup is /redisqueue"
  for controller in $(cgroup_controllers); do
    if [ -d "$controller/redisqueue" ]; then find "$controller/redisqueue" -depth -type d -exec rmdir {} +; fi
  done
  ip link del rq0 2>/dev/null || true
  if [ -f "$state/created" ]; then xargs rmdir --ignore-fail-on-non-empty <"$state/created"; fi
  rm -rf "$state" "$kubeconfig"
}

native_gone() {
  local controllers
  mapfile -t controllers < <(cgroup_controllers)
  ! node_pid && [ -z "$(find "${controllers[@]/%//redisqueue}" -name cgroup.procs -exec cat {} + 2>/dev/null)" ]
}

native_kubeconfig() {
  [ -f "$kubeconfig" ] || die "no cluster is up: run '$0 up'"
  echo "$kubeconfig"
}

native_status() {
  local tool
  echo "provider: native, caches in $cache"
  for tool in kubelet helm etcd coredns; do [ -x "$bin/$tool" ] && echo "tool: $tool" || echo "tool: $tool is missing (build gets it)"; done
  if ! node_pid >/dev/null; then echo "cluster: down"; return; fi
  echo "cluster: up, kubeconfig $kubeconfig"
  kubectl --kubeconfig "$kubeconfig" get nodes -o wide
  ctr -a "$state/containerd.sock" -n k8s.io images ls | awk '$1 !~ /^sha256/ {print $1, $4, $5}'
}

native_host() { echo $host_ip; }

native_kill() {
  local controllers
  mapfile -t controllers < <(cgroup_controllers)
  kill_pod "$1" "${controllers[@]/%//redisqueue}"
}

native_inside() { nsenter --target "$(node_pid)" --net --mount --pid "$@"; }

native_crash() { # PROGRAM: it is gone when this returns
  local number
  number=$(cat "$state/programs/$1") || die "the node has no program $1; it has $(cd "$state/programs" && echo *)"
  native_inside kill -KILL "$number"
  until_ok 15 native_without "$number"
}

native_without() { ! native_inside test -e "/proc/$1"; }

native_recover() {
  [ -e "$state/programs/$1" ] || die "the node has no program $1"
  touch "$state/programs/$1.again"
  until_ok 15 test ! -e "$state/programs/$1.again"
}
