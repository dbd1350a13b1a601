"""Where a run may live, how much the disk must have, and that a full one can still be closed cleanly."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from labctl.batch import preflight
from labctl.batch.preflight import BALLAST, Ballast, ballast_size, enough
from labctl.core.errors import BenchError, StorageError
from labctl.core.events import UnknownEvent
from labctl.storage import filesystem
from labctl.storage.filesystem import NETWORK_DRIVE, Mount, check_place, mount_of, mounts
from labctl.storage.journal import Journal

MB = 1 << 20
MOUNTS = [
    Mount(point, kind, source)
    for point, kind, source in (
        ("/", "ext4", "/dev/vda"),
        ("/dev/shm", "tmpfs", "tmpfs"),
        ("/home/my lab", "nfs4", "server:/export/lab"),
        ("/mnt/share", "cifs", "//server/share"),
        ("/mnt/ssh", "fuse.sshfs", "me@server:/home"),
        ("/mnt/usb", "fuseblk", "/dev/sdb1"),
        ("/mnt/enc", "fuse.gocryptfs", "/home/me/enc"),
        ("/mnt/odd", "fuse.thing", "thing"),
        ("/mnt/c", "9p", "drvfs"),
        ("/mnt/share/local", "xfs", "/dev/sdc1"),
        ("/mnt/twice", "ext4", "/dev/sdd1"),
        ("/mnt/twice", "nfs", "server:/b"),
    )
]
# as the kernel lists them
PROC = """\
/dev/vda / ext4 rw,relatime,discard 0 0
server:/export/lab /home/my\\040lab nfs4 rw,vers=4.2 0 0
/home/me/enc /mnt/enc fuse.gocryptfs rw 0 0
"""
posix = pytest.mark.skipif(os.name != "posix", reason="Windows has drives, not mount points")


# network file systems


@posix
@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/my lab/runs/x", "nfs4"),
        ("/mnt/share", "cifs"),
        ("/mnt/ssh/a", "fuse.sshfs"),
        ("/mnt/odd/a", "fuse.thing"),
        ("/mnt/c/Users", "9p"),
        ("/mnt/twice/runs", "nfs"),
    ],
)
def test_a_folder_on_the_network_is_refused_unless_it_is_accepted(folder, kind):
    with pytest.raises(BenchError, match=rf"{folder} is on a .*\({kind}, .*--accept-place") as refused:
        check_place(Path(folder), among=MOUNTS)
    assert refused.value.exit_code == 2
    (remark,) = check_place(Path(folder), among=MOUNTS, accept=True)
    assert kind in remark
    assert remark.endswith("this was accepted")


@posix
@pytest.mark.parametrize("folder", ["/", "/home/my", "/mnt/shared", "/mnt/usb/r", "/mnt/enc/r", "/mnt/share/local/r"])
def test_a_folder_on_a_disk_of_this_computer_is_fine(folder):
    assert check_place(Path(folder), among=MOUNTS) == ()


@posix
def test_a_folder_in_memory_is_noted():
    (remark,) = check_place(Path("/dev/shm/runs"), among=MOUNTS)
    assert remark == "/dev/shm/runs is in memory (tmpfs on /dev/shm): a power cut loses it"


@posix
def test_the_mounts_of_macos_are_understood():
    listed = [Mount("/", "apfs", "/dev/disk3s1s1"), Mount("/Volumes/data", "smbfs", "//lab@server/data")]
    with pytest.raises(BenchError, match="smbfs"):
        check_place(Path("/Volumes/data/x"), among=listed)
    assert check_place(Path("/Users/me/x"), among=listed) == ()


@pytest.mark.skipif(sys.platform != "linux", reason="another system lists its mounts elsewhere")
def test_mounts_are_those_of_the_kernel_in_its_order(tmp_path, monkeypatch):
    import psutil

    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mounts").write_text(PROC)
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    assert mounts() == [MOUNTS[0], MOUNTS[2], MOUNTS[6]]


def test_a_drive_of_windows_on_the_network_is_told_by_its_options(monkeypatch):
    import psutil

    drives = [("C:\\", "NTFS", "rw,fixed"), ("Z:\\", "", "rw,remote")]
    parts = [SimpleNamespace(device=point, mountpoint=point, fstype=kind, opts=opts) for point, kind, opts in drives]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: parts)
    monkeypatch.setattr(filesystem.sys, "platform", "win32")
    assert [mount.kind for mount in mounts()] == ["NTFS", NETWORK_DRIVE]


@posix
def test_a_network_drive_is_refused(tmp_path):
    listed = [Mount(str(tmp_path), NETWORK_DRIVE, "Z:")]
    with pytest.raises(BenchError, match=r"is on a network file system \(network drive, Z: on "):
        check_place(tmp_path / "runs", among=listed)


@pytest.mark.skipif(sys.platform != "linux", reason="compares with the command findmnt of Linux")
@pytest.mark.skipif(shutil.which("findmnt") is None, reason="the command findmnt is not installed")
@pytest.mark.parametrize("folder", ["/", "/dev/shm", "/proc/self", "/sys/kernel", "/tmp"])
def test_the_file_system_found_is_the_one_that_findmnt_names(folder):
    done = subprocess.run(["findmnt", "-nfo", "FSTYPE", "-T", folder], capture_output=True, text=True, check=True)
    assert mount_of(Path(os.path.realpath(folder))).kind == done.stdout.split()[0]


@posix
def test_a_link_to_the_network_does_not_help(tmp_path):
    target = tmp_path / "far"
    target.mkdir()
    (tmp_path / "near").symlink_to(target)
    listed = [Mount("/", "ext4", "/dev/vda"), Mount(os.path.realpath(target), "nfs4", "server:/")]
    with pytest.raises(BenchError, match="nfs4"):
        check_place(tmp_path / "near" / "run", among=listed)


# folders that are synchronised


@pytest.mark.parametrize(
    "name",
    [
        *("Dropbox", "Dropbox (Personal)", "OneDrive", "OneDrive - University of Somewhere", "Google Drive"),
        *("GoogleDrive", "My Drive", "iCloudDrive", "Nextcloud", "ownCloud", "Library/Mobile Documents/x"),
        "Library/CloudStorage/Box-Box",
    ],
)
def test_a_folder_called_like_those_that_are_synchronised_is_refused(tmp_path, name):
    with pytest.raises(BenchError, match="is synchronised by a program"):
        check_place(tmp_path / name / "mtj" / "runs", among=[])


@pytest.mark.parametrize("name", ["dropbox-tests", "drive", "nextcloud2 notes", "my-onedrive", "box"])
def test_a_name_that_merely_sounds_like_it_is_fine(tmp_path, name):
    assert check_place(tmp_path / name / "runs", among=[]) == ()


@pytest.mark.parametrize(
    ("mark", "program"),
    [
        (".stfolder", "Syncthing"),
        (".dropbox.cache", "Dropbox"),
        ("._sync_1a2b3c.db", "Nextcloud"),
        (".sync_1a2b3c.db", "Nextcloud"),
        (".owncloudsync.log", "ownCloud"),
    ],
)
def test_what_a_synchronising_program_leaves_in_its_folder_gives_it_away(tmp_path, mark, program):
    (tmp_path / "lab" / "runs").mkdir(parents=True)
    (tmp_path / "lab" / mark).write_text("")
    with pytest.raises(BenchError, match=f"{program}: {tmp_path / 'lab'}"):
        check_place(tmp_path / "lab" / "runs" / "new", among=[])
    assert check_place(tmp_path / "other", among=[]) == ()


def test_programs_are_believed_about_their_own_folders(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    assert check_place(folder / "runs", among=[]) == ()
    monkeypatch.setenv("OneDriveCommercial", str(folder))
    with pytest.raises(BenchError, match="OneDrive"):
        check_place(folder / "runs", among=[])
    monkeypatch.delenv("OneDriveCommercial")
    home = tmp_path / "home"
    (home / ".dropbox").mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: home)
    for damaged in ("", "[]", '{"personal": 1}', '{"personal": {}}'):
        (home / ".dropbox" / "info.json").write_text(damaged)
        assert check_place(folder / "runs", among=[]) == ()
    (home / ".dropbox" / "info.json").write_text(f'{{"personal": {{"path": "{folder.as_posix()}", "host": 1}}}}')
    with pytest.raises(BenchError, match="Dropbox"):
        check_place(folder / "runs", among=[])


# space


def test_a_run_needs_three_times_its_estimate_and_ballast(tmp_path, monkeypatch):
    free = 3 * 400 * MB + 32 * MB
    monkeypatch.setattr(preflight, "_free", lambda folder: free)
    assert preflight.preflight(tmp_path / "runs" / "x", 400 * MB) == ()
    assert list(tmp_path.iterdir()) == []
    free -= 1
    with pytest.raises(BenchError, match=r"1\.3 GB are free and 1\.3 GB are needed, 3 times the 419\.4 MB"):
        preflight.preflight(tmp_path / "runs" / "x", 400 * MB)


def test_the_next_die_needs_three_times_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "_free", lambda folder: 300)
    enough(tmp_path, 100)
    with pytest.raises(
        StorageError, match=f"300 bytes are free, and 303 bytes are needed .* labctl resume {tmp_path}"
    ) as full:
        enough(tmp_path, 101)
    assert full.value.exit_code == 5


def test_the_free_space_is_that_of_the_disk(tmp_path):
    assert enough(tmp_path, 1) is None
    with pytest.raises(StorageError, match="EB are needed"):
        enough(tmp_path, 1 << 60)
    with pytest.raises(StorageError, match="cannot ask for the free space"):
        enough(tmp_path / "none", 1)


def test_ballast_is_a_twentieth_of_the_estimate_and_no_less_than_32_mb():
    assert ballast_size(0) == ballast_size(600 * MB) == 32 * MB
    assert ballast_size(2000 * MB) == 100 * MB


def test_ballast_takes_real_space_and_gives_it_back(tmp_path):
    ballast = Ballast(tmp_path, 0)
    ballast.fill()
    stat = ballast.path.stat()
    assert stat.st_size == 32 * MB
    if hasattr(stat, "st_blocks"):
        assert stat.st_blocks * 512 >= 32 * MB
    ballast.fill()
    assert ballast.path.stat().st_mtime_ns == stat.st_mtime_ns
    assert ballast.release() == 32 * MB
    assert not ballast.path.exists()
    assert ballast.release() == 0


def test_half_a_ballast_of_a_killed_run_is_made_whole(tmp_path):
    (tmp_path / BALLAST).write_bytes(b"x" * MB)
    ballast = Ballast(tmp_path, 0)
    ballast.fill()
    assert ballast.path.stat().st_size == 32 * MB


# the durable write


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    def refuse(fd):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(preflight, "sync", refuse)
    with pytest.raises(BenchError, match="does not keep what is written to it: Input/output error"):
        preflight.preflight(tmp_path / "x", 0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_gives_back_something_else_is_refused(tmp_path, monkeypatch):
    def tear(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:-1])
        Path(source).unlink()

    monkeypatch.setattr(preflight.os, "replace", tear)
    with pytest.raises(BenchError, match="a file read back is not what was written"):
        preflight.preflight(tmp_path / "x", 0)


# a small disk


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of 48 MB of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def eat(folder, leave=0):
    """Fill the disk with somebody else's data up to the last `leave` bytes."""
    with (folder / "junk").open("wb", buffering=0) as file:
        while (free := shutil.disk_usage(folder).free - leave) > 0:
            file.write(b"x" * min(1 << 16, free))


def test_a_small_disk_is_refused_for_a_large_run_and_noted_to_be_in_memory(small_disk):
    assert preflight.preflight(small_disk / "run", 4 * MB) == (
        f"{small_disk / 'run'} is in memory (tmpfs on {small_disk}): a power cut loses it",
    )
    with pytest.raises(BenchError, match=r"50\.\d MB are free and 54\.5 MB are needed, 3 times the 7\.0 MB"):
        preflight.preflight(small_disk / "run", 7 * 10**6 - 10_000)


def test_a_journal_on_a_full_disk_is_closed_cleanly_once_the_ballast_is_freed(small_disk):
    ballast = Ballast(small_disk, 0)
    ballast.fill()
    journal = Journal.create(small_disk / "dies" / "D1", {"die": "D1"})
    journal.event(UnknownEvent("before", {"n": 1}))
    journal.commit()
    eat(small_disk)
    with pytest.raises(StorageError, match="before the next die"):
        enough(small_disk, MB)
    journal.event(UnknownEvent("after", {"text": "x" * MB}))
    with pytest.raises(StorageError, match="the disk is full"):
        journal.commit()
    assert ballast.release() == 32 * MB
    journal.finish()
    journal.close()
    with Journal.open(small_disk / "dies" / "D1") as journal:
        assert [e.kind for e in journal.events()] == ["before", "after"]


def test_a_disk_too_small_for_the_ballast_keeps_none_of_it(small_disk):
    eat(small_disk, leave=8 * MB)
    ballast = Ballast(small_disk, 0)
    with pytest.raises(StorageError, match=r"cannot reserve space .* the disk is full"):
        ballast.fill()
    assert not ballast.path.exists()
    enough(small_disk, 2 * MB)


def test_a_disk_without_space_for_a_probe_is_refused(small_disk, monkeypatch):
    eat(small_disk)
    monkeypatch.setattr(preflight, "_free", lambda folder: 1 << 40)
    with pytest.raises(BenchError, match="No space left"):
        preflight.preflight(small_disk / "run", 0)


@pytest.mark.parametrize("error", [FileNotFoundError("/proc"), NotImplementedError()])
def test_where_no_list_of_file_systems_is_to_be_had_nothing_is_refused(tmp_path, monkeypatch, error):
    import psutil

    def unknown(all):
        raise error

    monkeypatch.setattr(psutil, "disk_partitions", unknown)
    assert check_place(tmp_path) == ()
