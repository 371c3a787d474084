/* Counts what a process changes below one folder, and kills it, or lets its disk be full, at the n-th change.

   Loaded by LD_PRELOAD, so that what Rust and C++ libraries do counts as what Python does. See faults.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static size_t length;
static long at;
static int code; /* 0: kill at the n-th change; above: this error for whatever takes room, from then on;
                    below: as many milliseconds later each change is made */
static atomic_long counted;

void fault_arm(const char *below, long nth, int error) {
    snprintf(folder, sizeof folder, "%s/", below);
    length = strlen(folder), at = nth, code = error, counted = 0;
}

long fault_count(void) { return counted; }

static int fd_below(int fd) {
    char link[64], path[PATH_MAX];
    if (!length || fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 2);
    if (size < 0) return 0;
    path[size] = '/', path[size + 1] = 0; /* the folder itself as well */
    return !strncmp(path, folder, length);
}

static int path_below(int directory, const char *path) {
    if (!length || !path) return 0;
    return path[0] == '/' ? !strncmp(path, folder, length) : directory != AT_FDCWD && fd_below(directory);
}

/* Counts a change; tells whether it is to fail. */
static int fails(int takes_room) {
    long nth = ++counted;
    if (code < 0) usleep(-1000 * code);
    if (at && !code && nth == at) kill(getpid(), SIGKILL);
    if (!at || code <= 0 || nth < at || !takes_room) return 0;
    errno = code;
    return 1;
}

#define CHANGE(type, name, parameters, arguments, below, takes_room)                                  \
    type name parameters {                                                                            \
        static type(*real) parameters;                                                                \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                \
        if ((below) && fails(takes_room)) return -1;                                                  \
        return real arguments;                                                                        \
    }

#define OPEN(name, parameters, arguments, directory)                                                  \
    int name parameters {                                                                             \
        static int(*real)();                                                                          \
        if (!real) real = (int (*)())dlsym(RTLD_NEXT, #name);                                         \
        mode_t mode = 0;                                                                              \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                          \
            va_list more;                                                                             \
            va_start(more, flags), mode = va_arg(more, mode_t), va_end(more);                         \
        }                                                                                             \
        if (flags & O_CREAT && path_below(directory, path) && fails(1)) return -1;                    \
        return real arguments;                                                                        \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(openat, (int fd, const char *path, int flags, ...), (fd, path, flags, mode), fd)
OPEN(openat64, (int fd, const char *path, int flags, ...), (fd, path, flags, mode), fd)

CHANGE(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size), fd > 2 && fd_below(fd), 1)
CHANGE(ssize_t, writev, (int fd, const struct iovec *from, int n), (fd, from, n), fd > 2 && fd_below(fd), 1)
CHANGE(ssize_t, pwrite64, (int fd, const void *from, size_t size, off64_t to), (fd, from, size, to), fd_below(fd), 1)
CHANGE(ssize_t, sendfile, (int to, int from, off_t *begin, size_t size), (to, from, begin, size), fd_below(to), 1)
CHANGE(ssize_t, sendfile64, (int to, int from, off64_t *begin, size_t size), (to, from, begin, size), fd_below(to), 1)
CHANGE(int, ftruncate64, (int fd, off64_t size), (fd, size), fd_below(fd), 1)
CHANGE(int, fsync, (int fd), (fd), fd_below(fd), 0)
CHANGE(int, mkdir, (const char *path, mode_t mode), (path, mode), path_below(AT_FDCWD, path), 1)
CHANGE(int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode), path_below(fd, path), 1)
CHANGE(int, rename, (const char *from, const char *to), (from, to), path_below(AT_FDCWD, to), 0)
CHANGE(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), path_below(b, to), 0)
CHANGE(int, link, (const char *from, const char *to), (from, to), path_below(AT_FDCWD, to), 1)
CHANGE(int, linkat, (int a, const char *from, int b, const char *to, int f), (a, from, b, to, f), path_below(b, to), 1)
CHANGE(int, unlink, (const char *path), (path), path_below(AT_FDCWD, path), 0)
CHANGE(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags), path_below(fd, path), 0)
CHANGE(int, rmdir, (const char *path), (path), path_below(AT_FDCWD, path), 0)
