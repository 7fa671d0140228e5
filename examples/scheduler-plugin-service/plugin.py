"""A scheduler plugin as a process of its own: licences of a program, of which each node has some.

A node says by its annotation `example.com/licences` how many it has, a pod by its label `example.com/licence` that it uses one. Nodes
without a free one will not do; of others those are better that have fewer left. Nothing here is Knarr's but the generated contract, so
the same can be written in any language that has gRPC; the README says how.

    python plugin.py --listen 127.0.0.1:10400
"""

import argparse
import threading
from concurrent import futures

import grpc

from knarr.api.scheduler.v1 import plugin_pb2 as api
from knarr.api.scheduler.v1 import plugin_pb2_grpc as api_grpc

NAME = "Licences"
HAS, USES = "example.com/licences", "example.com/licence"


class View:
    """The cluster as the scheduler has told it: licences by the number of a node, and who uses one where."""

    def __init__(self):
        self.session, self.revision = "", 0
        self.nodes, self.numbers, self.users = {}, {}, {}

    def update(self, request, context):
        if request.base_revision == 0:
            self.__init__()
        elif not self.is_at(request.view.session, request.base_revision):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"this plugin is at revision {self.revision} of {self.session!r}")
        for number in request.removed_nodes:
            self.nodes.pop(number, None)
        for told in request.nodes:
            self.nodes[told.number] = int(told.node.metadata.annotations.get(HAS, "0"))
            self.numbers[told.node.metadata.name] = told.number
        for placed in request.pods:
            if USES in placed.pod.metadata.labels:
                self.users[placed.pod.metadata.uid] = placed.node
        for uid in request.removed_pods:
            self.users.pop(uid, None)
        self.session, self.revision = request.view.session, request.view.revision

    def is_at(self, session, revision):
        return (self.session, self.revision) == (session, revision)

    def free(self, gone=()):
        """How many are left on each node, by its number."""
        left = dict(self.nodes)
        for uid, node in self.users.items():
            number = self.numbers.get(node)
            if uid not in gone and number in left:
                left[number] -= 1
        return left


class Plugin(api_grpc.SchedulerPluginServiceServicer):
    def __init__(self):
        self.view, self.lock = View(), threading.Lock()

    def GetInfo(self, request, context):
        return api.GetInfoResponse(name=NAME, filter=True, score=True, pods=True)

    def UpdateNodes(self, request, context):
        with self.lock:
            self.view.update(request, context)
        return api.UpdateNodesResponse()

    def Filter(self, request, context):
        if USES not in request.pod.metadata.labels:
            return api.FilterResponse()
        free = self.asked(request, context, request.without_pods)
        none = [number for number in request.candidates if self.view.nodes[number] == 0]
        taken = [number for number in request.candidates if self.view.nodes[number] > 0 >= free[number]]
        return api.FilterResponse(
            refusals=[
                api.Refusal(reason="node(s) had no licences", nodes=none, unresolvable=True),
                api.Refusal(reason="node(s) had no free licence", nodes=taken),
            ]
        )

    def Score(self, request, context):
        free = self.asked(request, context)
        most = max((free[number] for number in request.candidates), default=0)
        return api.ScoreResponse(scores=[100 - 100 * free[number] // most if most > 0 else 0 for number in request.candidates])

    def asked(self, request, context, gone=()):
        """What is free in the view that the scheduler asks about."""
        with self.lock:
            if not self.view.is_at(request.view.session, request.view.revision):
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this plugin does not have that view")
            return self.view.free(gone)


def serve(listen):
    """A server that has started, and the port that it has got."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    api_grpc.add_SchedulerPluginServiceServicer_to_server(Plugin(), server)
    port = server.add_insecure_port(listen)
    server.start()
    return server, port


def main():
    parser = argparse.ArgumentParser(description="An example of a scheduler plugin for Knarr.")
    parser.add_argument("--listen", default="127.0.0.1:10400")
    server, _ = serve(parser.parse_args().listen)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
