/* A disk that fails: preloaded, it answers calls that write, synchronise or lock files under a folder with an error.

   FAIL_UNDER   path that the file's path begins with
   FAIL_AT      number of the first call that fails, from 1; 0 for none
   FAIL_FOR     how many calls fail from there on; 0 for all
   FAIL_ERRNO   number of the error
   FAIL_LOCKS   1: locks of files fail instead, with the same error

   A process that has it loaded can set the same with failing_disk(), and ask with failing_disk_calls() how many calls
   were counted since. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/types.h>
#include <unistd.h>

static char under[PATH_MAX];
static long first, number, code, calls;
static int locks, ready;

void failing_disk(const char *folder, long at, long count, int error, int only_locks) {
  snprintf(under, sizeof under, "%s", folder);
  first = at, number = count, code = error, locks = only_locks, calls = 0, ready = 1;
}

long failing_disk_calls(void) { return calls; }

static long setting(const char *name) {
  const char *text = getenv(name);
  return text ? atol(text) : 0;
}

static void begin(void) {
  if (ready) return;
  const char *folder = getenv("FAIL_UNDER");
  failing_disk(folder ? folder : "", setting("FAIL_AT"), setting("FAIL_FOR"), setting("FAIL_ERRNO"), setting("FAIL_LOCKS"));
}

static int fails_at(const char *path, int lock) {
  begin();
  if (!under[0] || lock != locks || strncmp(path, under, strlen(under))) return 0;
  calls++;
  if (!first || calls < first || (number && calls >= first + number)) return 0;
  errno = (int)code;
  return 1;
}

static int fails(int fd, int lock) {
  char name[64], path[PATH_MAX];
  begin();
  if (!under[0]) return 0;
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(name, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails_at(path, lock);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) { return fails(fd, 0) ? -1 : REAL(write)(fd, data, size); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  return fails(fd, 0) ? -1 : REAL(pwrite)(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  return fails(fd, 0) ? -1 : REAL(pwrite64)(fd, data, size, at);
}
int fsync(int fd) { return fails(fd, 0) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails(fd, 0) ? -1 : REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t size) { return fails(fd, 0) ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { return fails(fd, 0) ? -1 : REAL(ftruncate64)(fd, size); }
int rename(const char *from, const char *to) { return fails_at(to, 0) ? -1 : REAL(rename)(from, to); }

int flock(int fd, int operation) { return fails(fd, 1) ? -1 : REAL(flock)(fd, operation); }

static int lock_call(int (*real)(int, int, ...), int fd, int command, void *argument) {
  int lock = command == F_SETLK || command == F_SETLKW;
#ifdef F_OFD_SETLK
  lock = lock || command == F_OFD_SETLK || command == F_OFD_SETLKW;
#endif
  return lock && fails(fd, 1) ? -1 : real(fd, command, argument);
}

int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  return lock_call((int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl"), fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  return lock_call((int (*)(int, int, ...))dlsym(RTLD_NEXT, "fcntl64"), fd, command, argument);
}
