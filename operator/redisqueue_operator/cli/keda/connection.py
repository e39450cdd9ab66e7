"""The trigger's way to Redis → `spec.redis`. A password that stands in plain is never taken over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from redisqueue_operator.cli.keda.fields import NotConvertible, Object, pruned

if TYPE_CHECKING:
    from redisqueue_operator.cli.keda.fields import Fields

INTO_A_SECRET = "put the credentials into a Secret and name it in spec.redis.auth.secretRef"  # noqa: S105
ENABLED = ("true", "enable", "enabled", "1")


@dataclass(frozen=True)
class Given:
    """A parameter of the trigger: its text, or the Secret and key where it stands; neither: not given."""

    plain: str = ""
    secret: str = ""
    key: str = ""

    def __bool__(self) -> bool:
        return bool(self.plain or self.secret)


class Parameters:
    """The parameters of a trigger: of its metadata, its authentication, the container's variables."""

    def __init__(self, metadata: Fields, variables: dict[str, Object], authentication: Fields | None) -> None:
        self._metadata = metadata
        self._variables = variables
        self._of_authentication: dict[str, Given] = {}
        if authentication is not None:
            self._read(authentication)

    def _read(self, authentication: Fields) -> None:
        for one in authentication.parts("secretTargetRef"):
            given = Given(secret=one.text("name"), key=one.text("key"))
            self._of_authentication[one.text("parameter")] = given
            one.close()
        for one in authentication.parts("env"):
            variable = one.text("name")
            one.drop("containerName")
            self._of_authentication[one.text("parameter")] = self._variable(one, "name", variable)
            one.close()
        for name in list(authentication.rest()):
            authentication.note(name, f"left out: {INTO_A_SECRET}")

    def __getitem__(self, name: str) -> Given:
        """One of them, asked for once."""
        plain = self._metadata.text(name)
        variable = self._metadata.text(f"{name}FromEnv")
        of_authentication = self._of_authentication.pop(name, None)
        if plain:
            return Given(plain)
        if of_authentication:
            return of_authentication
        return self._variable(self._metadata, f"{name}FromEnv", variable) if variable else Given()

    def _variable(self, place: Fields, field: str, name: str) -> Given:
        entry = self._variables.get(name)
        if entry is None:
            place.note(
                field, f"the container's env has no {name} (envFrom cannot be looked into): write it down"
            )
            return Given()
        source = (entry.get("valueFrom") or {}).get("secretKeyRef")
        if source:
            return Given(secret=str(source.get("name")), key=str(source.get("key")))
        if "value" in entry:
            return Given(str(entry["value"]))
        place.note(field, f"{name} is no text and of no Secret: write the value down")
        return Given()

    def close(self) -> None:
        """Note what nobody asked for."""
        for name in self._of_authentication:
            self._metadata.note(name, "given by the authentication, not known here, and left out")
        self._metadata.close()


def connection(kind: str, given: Parameters, metadata: Fields, name: str) -> Object:
    """`spec.redis` of a trigger of this kind; `name` is that of the RedisQueue. Raises NotConvertible."""
    mode = {"sentinel": "Sentinel", "cluster": "Cluster"}.get(
        kind.partition("-")[2].split("-")[0], "Standalone"
    )
    user, auth = login(given, metadata, name, "username", "password", "auth")
    at = f"{quote(user, safe='')}@" if user else ""
    tls = encryption(given, metadata)
    scheme = "redis" if tls is None else "rediss"
    database = metadata.number("databaseIndex", high=16_383) or None
    result: Object = {"mode": mode, "auth": auth, "tls": tls}
    result |= {"database": None if mode == "Cluster" else database}
    if mode == "Standalone":
        address = first_address(given)
        if address is None:
            secret = {"name": f"{name}-redis", "key": "url"}
            metadata.note(
                "address",
                "it stands in a Secret as host:port, and spec.redis.urlFrom needs a whole URL:"
                f" kubectl create secret generic {secret['name']} --from-literal=url={scheme}://HOST:PORT",
            )
            result["urlFrom"] = {"secretKeyRef": secret}
        else:
            result["url"] = f"{scheme}://{at}{address}"
        return {name: value for name, value in pruned(result).items() if value != "Standalone"}
    nodes = addresses(given, mode)
    if mode == "Cluster":
        return pruned({"url": f"{scheme}://{at}{nodes[0]}", **result})  # type: ignore[no-any-return]
    master = given["sentinelMaster"].plain
    if not master:
        metadata.note("sentinelMaster", "missing: mymaster is taken; correct spec.redis.sentinel.masterName")
    _, sentinel_auth = login(
        given, metadata, f"{name}-sentinel", "sentinelUsername", "sentinelPassword", "sentinel.auth"
    )
    sentinel = {"masterName": master or "mymaster", "addresses": nodes, "auth": sentinel_auth}
    url = f"{scheme}://{at}{master or 'mymaster'}"
    return pruned({"url": url, **result, "sentinel": sentinel})  # type: ignore[no-any-return]


def first_address(given: Parameters) -> str | None:
    """host:port of the only server; None where a Secret has it. Raises NotConvertible without any."""
    address, host, port = (either(given, name) for name in ("address", "host", "port"))
    if address.secret or host.secret or port.secret:
        return None
    if not (address or host):
        raise NotConvertible("the trigger names no address: give it address, or host and port")
    return hosted(address.plain or f"{host.plain}:{port.plain or 6379}")


def either(given: Parameters, name: str) -> Given:
    """KEDA takes the one for the other: `address` and `addresses`, `host` and `hosts`."""
    plural, singular = given[f"{name}es" if name.endswith("s") else f"{name}s"], given[name]
    return singular or plural


def addresses(given: Parameters, mode: str) -> list[str]:
    """host:port of each. Raises NotConvertible."""
    several, hosts, ports = (either(given, name) for name in ("address", "host", "port"))
    found: list[str] = []
    if several.plain:
        found = [hosted(one) for one in several.plain.split(",") if one.strip()]
    elif hosts.plain and ports.plain:
        pairs = zip(hosts.plain.split(","), ports.plain.split(","), strict=False)
        found = [hosted(f"{host.strip()}:{port.strip()}") for host, port in pairs if host.strip()]
    if found:
        return found
    where = "a Secret has them" if several.secret or hosts.secret or ports.secret else "there are none"
    raise NotConvertible(
        f"the addresses of {mode} are not known ({where}): write them into the trigger's addresses"
    )


def hosted(address: str) -> str:
    """host:port of an address. Raises NotConvertible for what is none, or more: a login may stand in it."""
    text = address.strip()
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        port = parts.port
    except ValueError as error:
        raise NotConvertible(f"the trigger's address is none ({error}): write it as host:port") from None
    if "@" in parts.netloc or parts.scheme not in ("", "redis") or parts.path.strip("/") or parts.query:
        raise NotConvertible(
            "the trigger's address says more than host:port: write user, password, database and TLS into"
            " username, password, databaseIndex and enableTLS of the trigger"
        )
    return parts.netloc if port is not None else f"{parts.netloc.removesuffix(':')}:6379"


def login(
    given: Parameters, metadata: Fields, name: str, user_name: str, password_name: str, field: str
) -> tuple[str, Object | None]:
    """The user for the URL, and `auth`; a password that stands in plain is not taken over, but asked for."""
    user, password = given[user_name], given[password_name]
    if not password:
        if user.secret:
            metadata.note(user_name, f"a user without a password is left out: {INTO_A_SECRET}")
        return user.plain, None
    own = {"name": f"{name}-redis", "passwordKey": "password"}
    create = f"kubectl create secret generic {own['name']} --from-literal=password=…"
    if not password.secret:
        metadata.note(password_name, f"it stands in plain, and is not taken over: {create}")
        return user.plain, {"secretRef": {**own, **({"usernameKey": "username"} if user.secret else {})}}
    reference: dict[str, Any] = {"name": password.secret, "passwordKey": password.key}
    if user.secret == password.secret:
        reference["usernameKey"] = user.key
    elif user.secret or (user.plain and field == "sentinel.auth"):
        metadata.note(
            user_name,
            f"spec.redis.{field}.secretRef has user and password in one Secret:"
            f" {create} --from-literal=username=…",
        )
        reference = {**own, "usernameKey": "username"}
    return user.plain, {"secretRef": reference}


def encryption(given: Parameters, metadata: Fields) -> Object | None:
    """`tls`, possibly empty; None without TLS."""
    said = metadata.text("enableTLS").lower()
    asked, ca, key = (given[name] for name in ("tls", "ca", "key"))
    cert = given["cert"] or given["Cert"]
    if given["keyPassword"]:
        metadata.note("keyPassword", "left out: put the private key into the Secret without a password")
    if given["unsafeSsl"].plain.lower() == "true":
        metadata.note(
            "unsafeSsl", "left out: certificates are always verified; name the CA in spec.redis.tls.caFrom"
        )
    if said not in ENABLED and not (
        asked.secret or asked.plain.lower() in ENABLED or ca.secret or cert.secret
    ):
        return None
    tls: Object = {}
    if ca.secret:
        tls["caFrom"] = {"secretKeyRef": {"name": ca.secret, "key": ca.key}}
    if cert.secret and cert.secret == key.secret:
        tls["certFrom"] = {"secretRef": {"name": cert.secret, "certKey": cert.key, "keyKey": key.key}}
    elif cert or key:
        metadata.note(
            "cert", "left out: spec.redis.tls.certFrom.secretRef has certificate and key in one Secret"
        )
    if ca.plain:
        metadata.note("ca", "left out: put it into a ConfigMap, and name that in spec.redis.tls.caFrom")
    return tls
