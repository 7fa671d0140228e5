"""Folders that the file system itself holds to a size: subvolumes of btrfs, where somebody has turned its quotas on.

Specified by linux/btrfs.h. What another file system answers to these calls says that it has nothing of the kind. Quotas are not turned on
here: that is the whole file system's, costs it time, and is for its owner to say (``btrfs quota enable``).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

# _IOW(0x94, 14, struct btrfs_ioctl_vol_args) and _IOR(0x94, 43, struct btrfs_ioctl_qgroup_limit_args).
SUBVOLUME_CREATE, GROUP_LIMIT = 0x5000940E, 0x8030942B
# Of the former: a handle, which creating needs none of, and the name.
_ARGUMENTS = struct.Struct("q4088s")
# Of the latter: the group (0: the handle's own), which limits are meant, and these: of what it refers to, and three more.
_LIMITS = struct.Struct("QQQQQQ")
REFERENCED = 1
# Each subvolume's own folder has this inode.
ROOT_INODE = 256
# That the file system is another one, has its quotas off, or lets us not.
UNABLE = frozenset({errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTCONN, errno.ENOENT, errno.EPERM, errno.ENOSYS})


def make_limitable(directory: int, name: str, mode: int) -> None:
    """Makes a folder that can be limited, or a plain one where the file system is another one. Raises FileExistsError, OSError."""
    try:
        # A buffer of one's own may be longer than what is copied.
        fcntl.ioctl(directory, SUBVOLUME_CREATE, bytearray(_ARGUMENTS.pack(0, os.fsencode(name))))
    except OSError as error:
        if error.errno not in UNABLE:
            raise
        os.mkdir(name, dir_fd=directory)
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def limit(directory: int, name: str, size_bytes: int) -> bool:
    """Holds a folder in ``directory`` to a size; may be repeated, with another one. Answers whether it is held to it from now on.

    Raises OSError, also where it is not there.
    """
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        found = os.fstat(handle)
        # A plain folder's group is that of all that lies around it.
        if found.st_ino != ROOT_INODE or found.st_dev == os.fstat(directory).st_dev:
            return False
        fcntl.ioctl(handle, GROUP_LIMIT, _LIMITS.pack(0, REFERENCED, size_bytes, 0, 0, 0))
    except OSError as error:
        if error.errno not in UNABLE:
            raise
        return False
    finally:
        os.close(handle)
    return True
