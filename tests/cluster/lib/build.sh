# shellcheck shell=bash
# The tools at fixed versions: Go programs from source (their modules are checked against the public
# checksum database), the container tools from the distribution, the base image by debootstrap.

# The oldest and the newest release that is tested; the default is the last whose kubelet runs on cgroup v1 unasked.
kubernetes_versions="1.34.4 1.37.2"
kubernetes_version=
for release in $kubernetes_versions; do [[ $release != "$kubernetes".* ]] || kubernetes_version=$release; done
containerd_version=2.3.7 # for newer Kubernetes: that of distributions is older than image volumes
helm_version=3.19.0
helm_4_version=4.3.1
etcd_version=3.6.5
coredns_version=1.12.4
actionlint_version=1.7.12
base_image=localhost/python:3.13-slim
# The kubelet comes last: where it is, all are.
kubernetes_programs="kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubectl kubelet"
containerd_programs="containerd-shim-runc-v2 ctr containerd"
debian_packages="containerd runc containernetworking-plugins iptables conntrack buildah debootstrap iproute2 procps openssl gcc libc6-dev"

check_kubernetes() {
  [ -n "$kubernetes_version" ] ||
    die "KUBERNETES=$kubernetes is none of$(sed -E 's/ ?([0-9]+\.[0-9]+)\.[0-9]+/ \1,/g; s/,$//' <<<"$kubernetes_versions")"
}

# shared_tool COMMAND...: builds into the folder of what every release of Kubernetes uses.
shared_tool() { (bin=$shared && "$@"); }
share_tools() {
  local name
  [ "$bin" = "$shared" ] || for name in helm helm-4 etcd coredns actionlint; do ln -sf "../bin/$name" "$bin/$name"; done
}

go_tool() { # NAME MODULE VERSION PACKAGE: one program out of one module
  printf 'module local/%s\ngo 1.24.0\ntool %s\nrequire %s v%s\n' "$1" "$4" "$2" "$3" >go.mod
  go_build
}

go_build() {
  go mod tidy
  go_program tool
}

go_program() { # PACKAGE [VARIABLE=VALUE]: set in the program
  CGO_ENABLED=0 go build -trimpath -tags no_btrfs -o "$bin/" \
    -ldflags "-s -w -X ${2:-k8s.io/component-base/version.gitVersion=v$kubernetes_version}" "$1"
}

# Kubernetes as a dependency: its staging modules carry v0.0.0 there and need to be told their version.
go_kubernetes() {
  local program number=0 its_own
  its_own=$(go mod download -json "k8s.io/kubernetes@v$kubernetes_version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
  {
    echo "module local/kubernetes"
    grep '^go ' "$its_own"
    echo "require k8s.io/kubernetes v$kubernetes_version"
    for program in $kubernetes_programs; do
      echo "tool k8s.io/kubernetes/cmd/$program"
    done
    sed -nE "s#^[[:space:]]*(k8s.io/[a-z-]+) => \./staging/.*#replace \1 => \1 v0.${kubernetes_version#1.}#p" "$its_own"
  } >go.mod
  go mod tidy
  for program in $kubernetes_programs; do
    progress "program $((++number)) of $(wc -w <<<"$kubernetes_programs"): $program"
    go_program "k8s.io/kubernetes/cmd/$program"
  done
}

go_containerd() {
  local program
  {
    printf 'module local/containerd\ngo 1.24.0\nrequire github.com/containerd/containerd/v2 v%s\n' $containerd_version
    for program in $containerd_programs; do echo "tool github.com/containerd/containerd/v2/cmd/$program"; done
  } >go.mod
  go mod tidy
  for program in $containerd_programs; do
    go_program "github.com/containerd/containerd/v2/cmd/$program" "github.com/containerd/containerd/v2/version.Version=$containerd_version"
  done
}

# from_source NAME FUNCTION...: runs the function in an empty folder.
from_source() {
  local name=$1
  shift
  rm -rf "$cache/src/$name" && mkdir -p "$cache/src/$name"
  in_folder "$cache/src/$name" "$@"
}
in_folder() { cd "$1" && shift && "$@"; }

build_etcd() {
  go_tool etcd go.etcd.io/etcd/server/v3 $etcd_version go.etcd.io/etcd/server/v3
  mv "$bin/server" "$bin/etcd"
}

build_helm_4() { # beside helm 3, under a name of its own
  (bin=$PWD go_tool helm helm.sh/helm/v4 $helm_4_version helm.sh/helm/v4/cmd/helm)
  mv helm "$bin/helm-4"
}

system_packages() {
  apt-get update -q
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $debian_packages
}

system_tools_present() {
  have containerd runc iptables conntrack buildah debootstrap ip pgrep openssl gcc && [ -x /usr/lib/cni/bridge ]
}

# A stand-in for python:3.13-slim that needs no registry: Debian 13 with its own Python 3.13.
build_base_image() {
  local root=$cache/rootfs mirror container
  if [ ! -x "$root/usr/bin/python3" ]; then
    mirror=$(apt-cache policy debootstrap | grep -oE 'https?://[^ ]+' | head -1)
    rm -rf "$root"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates trixie "$root.new" "$mirror"
    mv "$root.new" "$root"
  fi
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale,info}/*
  ln -sf python3 "$root/usr/bin/python"
  container=$(buildah from scratch)
  buildah add -q "$container" "$root" /
  buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit -q --rm "$container" $base_image
}

# The process that holds a pod's namespaces, in a dozen lines of C instead of an image to pull.
build_pause_image() {
  local folder=$cache/src/pause container
  mkdir -p "$folder"
  gcc -static -Os -s -o "$folder/pause" "$here/lib/pause.c"
  container=$(buildah from scratch)
  buildah copy -q "$container" "$folder/pause" /pause
  buildah config --entrypoint '["/pause"]' "$container"
  buildah commit -q --rm "$container" localhost/pause:3.10
  rm -f "$cache/pause.tar"
  buildah push -q localhost/pause:3.10 "docker-archive:$cache/pause.tar:localhost/pause:3.10"
}

# native_each DO: DO NAME SECONDS COMMAND... for each part that is not there; so long it takes on two idle cores.
native_each() {
  system_tools_present || "$1" "install system packages" 60 system_packages
  [ -x "$bin/kubelet" ] || "$1" "build Kubernetes $kubernetes" 420 from_source "kubernetes-$kubernetes" go_kubernetes
  [ "$bin" = "$shared" ] || [ -x "$bin/containerd" ] || "$1" "build containerd" 60 from_source containerd go_containerd
  [ -x "$shared/helm" ] || "$1" "build helm" 60 from_source helm shared_tool go_tool helm helm.sh/helm/v3 $helm_version helm.sh/helm/v3/cmd/helm
  [ -x "$shared/helm-4" ] || "$1" "build helm-4" 120 from_source helm-4 shared_tool build_helm_4
  [ -x "$shared/etcd" ] || "$1" "build etcd" 20 from_source etcd shared_tool build_etcd
  [ -x "$shared/coredns" ] ||
    "$1" "build coredns" 100 from_source coredns shared_tool go_tool coredns github.com/coredns/coredns $coredns_version github.com/coredns/coredns
  [ -x "$shared/actionlint" ] || "$1" "build actionlint" 15 from_source actionlint \
    shared_tool go_tool actionlint github.com/rhysd/actionlint $actionlint_version github.com/rhysd/actionlint/cmd/actionlint
  buildah inspect --type image $base_image >/dev/null 2>&1 || "$1" "make the base image" 45 build_base_image
  [ -f "$cache/pause.tar" ] || "$1" "make the pause image" 1 build_pause_image
}

native_plan() { # [quiet]: what a build will do, before it takes anybody's time; quiet where that is nothing
  local parts=0 seconds=0 lines=""
  note() {
    local last
    last=$(last_time "$1")
    parts=$((parts + 1)) seconds=$((seconds + ${last:-$2}))
    lines+="  $1: $(duration "${last:-$2}")"
    case $1 in
      *packages) lines+=", with apt-get: $debian_packages" ;;
      *Kubernetes*) lines+=", from source, $(wc -w <<<"$kubernetes_programs") programs: $kubernetes_programs" ;;
    esac
    lines+=$'\n'
  }
  native_each note
  steps_of $parts
  if [ $parts -eq 0 ]; then
    [ "${1:-}" = quiet ] || say "every part of the native cluster is there"
    return
  fi
  say "the native cluster lacks $parts parts, about $(duration $seconds) on two idle cores and up to three times that on slow or busy ones:"
  say "${lines%$'\n'}"
  say "they stay in $cache; with Go's own caches that is about 11 GB in all"
}

native_build() {
  [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] ||
    die "the native cluster needs root on Linux; elsewhere use CLUSTER=kind (Docker) or CLUSTER=current"
  native_plan quiet
  system_tools_present || have apt-get || die "no apt-get: install what gives $debian_packages"
  [[ -x $bin/kubelet && -x $shared/helm && -x $shared/helm-4 && -x $shared/etcd && -x $shared/coredns ]] || have go ||
    die "this needs Go on PATH: 1.24 or newer for Kubernetes 1.34, 1.26 for 1.37"
  export BUILDAH_ISOLATION=chroot
  run_part() { local name=$1; shift 2; next "$name" "$@"; }
  native_each run_part
  share_tools
}

kind_build() {
  have kind kubectl helm docker && docker info >/dev/null 2>&1 ||
    die "CLUSTER=kind needs kind, kubectl, helm and a running Docker"
}

kind_plan() { say "kind and Docker bring their own: nothing is built but our images"; }
current_plan() { say "the cluster of the current kubeconfig: nothing is built but our images"; }

current_build() {
  have kubectl helm buildah || die "CLUSTER=current needs kubectl, helm and buildah"
}
