"""Everything that can be checked before step one."""


def check(nodes):
    pass
