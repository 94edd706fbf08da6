"""Which models a group may call, from the router's pools and groups. Pure."""

from collections.abc import Iterable

from tollhouse.v1 import router_pb2


class Catalogue:
    """What can be called now."""

    def __init__(self, routes: router_pb2.GetRoutesResponse) -> None:
        self._pools = {pool.name: frozenset(pool.models) for pool in routes.pools}
        self._groups = {group.name: tuple(group.pools) for group in routes.groups}
        self._models = {model.model: model for model in routes.models}

    def models(self, group: str, listed: Iterable[str] = ()) -> list[router_pb2.Model]:
        """What a key of this group may call, by id: only what its list says, where it has one."""
        pools = self._groups.get(group, ())
        served = set().union(*(self._pools.get(pool, frozenset()) for pool in pools))
        wanted = frozenset(listed) or served
        return [self._models[name] for name in sorted(served & wanted) if name in self._models]
