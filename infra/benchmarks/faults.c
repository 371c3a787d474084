/* Counts what a process changes below one folder, and kills it, lets its disk be full, or keeps an answer back.

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
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static size_t length;
static enum { NONE, KILLED, FULL, LATE, UNANSWERED } kind; /* as KINDS of fault_runs.py */
static long at; /* KILLED: the change that is not made any more; FULL: whatever takes room fails from it on;
                   LATE: microseconds that every change is made later; UNANSWERED: the commit that is made, and yet
                   ends with an error */
static atomic_long changes, commits;

void fault_arm(const char *below, int what, long nth) {
    snprintf(folder, sizeof folder, "%s/", below);
    length = strlen(folder), kind = what, at = nth, changes = commits = 0;
}

long fault_changes(void) { return changes; }
long fault_commits(void) { return commits; }

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
    long nth = ++changes;
    if (kind == LATE) usleep(at);
    if (kind == KILLED && nth == at) kill(getpid(), SIGKILL);
    if (kind != FULL || nth < at || !takes_room) return 0;
    errno = ENOSPC;
    return 1;
}

/* Counts what puts a finished file in its place; tells whether nobody is to hear that it went well. */
static int unanswered(void) {
    if (++commits != at || kind != UNANSWERED) return 0;
    errno = EIO;
    return 1;
}

#define CHANGE(type, name, parameters, arguments, below, takes_room)                                  \
    type name parameters {                                                                            \
        static type(*real) parameters;                                                                \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                \
        if ((below) && fails(takes_room)) return -1;                                                  \
        return real arguments;                                                                        \
    }

#define COMMIT(name, parameters, arguments, below, takes_room)                                        \
    int name parameters {                                                                             \
        static int(*real) parameters;                                                                 \
        if (!real) real = (int(*) parameters)dlsym(RTLD_NEXT, #name);                                 \
        int counts = (below);                                                                         \
        if (counts && fails(takes_room)) return -1;                                                   \
        int done = real arguments;                                                                    \
        return counts && !done && unanswered() ? -1 : done;                                           \
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
COMMIT(rename, (const char *from, const char *to), (from, to), path_below(AT_FDCWD, to), 0)
COMMIT(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), path_below(b, to), 0)
COMMIT(link, (const char *from, const char *to), (from, to), path_below(AT_FDCWD, to), 1)
COMMIT(linkat, (int a, const char *from, int b, const char *to, int f), (a, from, b, to, f), path_below(b, to), 1)
CHANGE(int, unlink, (const char *path), (path), path_below(AT_FDCWD, path), 0)
CHANGE(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags), path_below(fd, path), 0)
CHANGE(int, rmdir, (const char *path), (path), path_below(AT_FDCWD, path), 0)

int statvfs64(const char *path, struct statvfs64 *found) {
    static int (*real)(const char *, struct statvfs64 *);
    if (!real) real = (int (*)(const char *, struct statvfs64 *))dlsym(RTLD_NEXT, "statvfs64");
    int done = real(path, found);
    if (!done && kind == FULL && changes >= at) found->f_bfree = found->f_bavail = 0;
    return done;
}
