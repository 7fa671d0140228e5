"""A container's environment: services, envFrom, env with $(VAR) expansion. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.env_files import BadEnvFile, value_in
from services.kubelet.container.inputs import ConfigError, ContainerInputs
from services.kubelet.pod.downward import UnknownField, field_value, resource_value
from services.kubelet.pod.references import References

_EXPANSION = re.compile(r"\$(\$|\(([^()$]+)\))")


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replaces ``$(NAME)`` where NAME is known; ``$$`` is one dollar, ``$$(NAME)`` stays ``$(NAME)``."""

    def replacement(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return values.get(match[2], match[0])

    return _EXPANSION.sub(replacement, text)


def missing(text: str, values: Mapping[str, str]) -> list[str]:
    """The names that ``expand`` would look for in vain, or find empty."""
    names = [match[2] for match in _EXPANSION.finditer(text) if match[1] != "$"]
    return sorted({name for name in names if not values.get(name)})


def environment(inputs: ContainerInputs) -> dict[str, str]:
    """The variables of a container; raises ConfigError."""
    result = _service_variables(inputs.pod, inputs.references.services)
    for source in inputs.spec.env_from:
        result.update(_from_source(source, inputs.references))
    for variable in inputs.spec.env:
        value = _value(variable, inputs, result)
        if value is not None:
            result[variable.name] = value
    return result


def _value(variable: core.EnvVar, inputs: ContainerInputs, known: Mapping[str, str]) -> str | None:
    """None: it is optional and not there, and so is the variable."""
    if not variable.HasField("value_from"):
        return expand(variable.value, known)
    pod, source = inputs.pod, variable.value_from
    try:
        if source.HasField("field_ref"):
            return field_value(pod, source.field_ref.field_path, inputs.node, inputs.pod_ip)
        if source.HasField("resource_field_ref"):
            return resource_value(pod, source.resource_field_ref, inputs.spec.name, inputs.node)
    except UnknownField as error:
        raise ConfigError(str(error)) from error
    if source.HasField("file_key_ref"):
        return _file_key(source.file_key_ref, inputs)
    if source.HasField("config_map_key_ref"):
        return _config_map_key(pod, source.config_map_key_ref, inputs.references)
    return _secret_key(pod, source.secret_key_ref, inputs.references)


def _file_key(selector: core.FileKeySelector, inputs: ContainerInputs) -> str | None:
    """What an earlier container wrote, or None; also where nobody can have written anything."""
    if inputs.env_files is None:
        return None
    volume = next((found for found in inputs.pod.spec.volumes if found.name == selector.volume_name), core.Volume())
    if not volume.volume_source.HasField("empty_dir"):
        raise ConfigError(f'the volume "{selector.volume_name}" of a fileKeyRef is no emptyDir of the pod')
    where = f'file "{selector.path}" of volume "{selector.volume_name}"'
    data = inputs.env_files.get((selector.volume_name, selector.path))
    if isinstance(data, str):
        raise ConfigError(f"couldn't read {where}: {data}")
    try:
        found = value_in(data, selector.key) if data is not None else None
    except BadEnvFile as error:
        raise ConfigError(f"couldn't parse {where}: {error}") from error
    if found is None and not selector.optional:
        raise ConfigError(f"{where} not found" if data is None else f'environment variable key "{selector.key}" not found in {where}')
    return found


def _config_map_key(pod: core.Pod, selector: core.ConfigMapKeySelector, references: References) -> str | None:
    name = selector.local_object_reference.name
    found = references.config_maps.get(name)
    if found is not None and selector.key in found.data:
        return str(found.data[selector.key])
    if selector.optional:
        return None
    if found is None:
        raise ConfigError(f'configmap "{name}" not found')
    raise ConfigError(f"couldn't find key {selector.key} in ConfigMap {pod.metadata.namespace}/{name}")


def _secret_key(pod: core.Pod, selector: core.SecretKeySelector, references: References) -> str | None:
    name = selector.local_object_reference.name
    found = references.secrets.get(name)
    if found is not None and selector.key in found.data:
        return _text(found.data[selector.key], selector.key, f"{pod.metadata.namespace}/{name}")
    if selector.optional:
        return None
    if found is None:
        raise ConfigError(f'secret "{name}" not found')
    raise ConfigError(f"couldn't find key {selector.key} in Secret {pod.metadata.namespace}/{name}")


def _text(data: bytes, key: str, secret: str) -> str:
    """What of a Secret becomes a variable. Raises ConfigError where the engine could only be given something else."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"key {key} in Secret {secret} is not UTF-8 and cannot be a variable; mount it as a volume") from None


def _from_source(source: core.EnvFromSource, references: References) -> dict[str, str]:
    if source.HasField("config_map_ref"):
        name, optional = source.config_map_ref.local_object_reference.name, source.config_map_ref.optional
        config_map = references.config_maps.get(name)
        if config_map is None and not optional:
            raise ConfigError(f'configmap "{name}" not found')
        values = dict(config_map.data) if config_map is not None else {}
    else:
        name, optional = source.secret_ref.local_object_reference.name, source.secret_ref.optional
        secret = references.secrets.get(name)
        if secret is None and not optional:
            raise ConfigError(f'secret "{name}" not found')
        data = secret.data if secret is not None else {}
        values = {key: _text(data[key], key, name) for key in data}
    return {source.prefix + key: values[key] for key in sorted(values)}


def _service_variables(pod: core.Pod, services: Iterable[core.Service]) -> dict[str, str]:
    """Docker-link style variables of the namespace's services, and always of ``default/kubernetes``."""
    links = not pod.spec.HasField("enable_service_links") or pod.spec.enable_service_links
    result: dict[str, str] = {}
    for service in sorted(services, key=lambda found: str(found.metadata.name)):
        master = (service.metadata.namespace, service.metadata.name) == ("default", "kubernetes")
        if not master and not (links and service.metadata.namespace == pod.metadata.namespace):
            continue
        if service.spec.cluster_ip in ("", "None") or not service.spec.ports:
            continue
        result.update(_variables_of(service))
    return result


def _variables_of(service: core.Service) -> dict[str, str]:
    prefix = service.metadata.name.upper().replace("-", "_").replace(".", "_")
    ip, ports = service.spec.cluster_ip, service.spec.ports
    host = f"[{ip}]" if ":" in ip else ip
    result = {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(ports[0].port)}
    for port in ports:
        if port.name:
            result[f"{prefix}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
    for index, port in enumerate(ports):
        protocol = port.protocol or "TCP"
        url = f"{protocol.lower()}://{host}:{port.port}"
        if index == 0:
            result[f"{prefix}_PORT"] = url
        base = f"{prefix}_PORT_{port.port}_{protocol}"
        result |= {base: url, f"{base}_PROTO": protocol.lower(), f"{base}_PORT": str(port.port), f"{base}_ADDR": ip}
    return result
