"""An operator in kopf: each Greeting has a ConfigMap of its name, with the words in it."""

import os

import kopf
import kubernetes


@kopf.on.login()
def login(**arguments):
    return kopf.login_with_kubeconfig(**arguments)


@kopf.on.startup()
def settle(settings, **_):
    settings.watching.reconnect_backoff = 0.1
    # By itself the library reads KUBECONFIG when it is imported, and then never again.
    kubernetes.config.load_kube_config(os.environ.get("KUBECONFIG"))


@kopf.on.create("example.com", "v1", "greetings")
def greet(spec, name, namespace, **_):
    words = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"words": f"Hello, {spec['whom']}!"}}
    kopf.adopt(words)
    try:
        kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, words)
    except kubernetes.client.ApiException as error:
        if error.status != 409:
            raise kopf.TemporaryError(f"the ConfigMap was refused: {error.reason}", delay=0.5) from error
