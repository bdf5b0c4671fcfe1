/* Loaded before the C library: what it does to the files of a folder fails, takes long, or hangs.

   DISK_FOLDER is the folder, DISK_RULES a file of one `struct rule` for each operation, which the
   test changes at any time. The thread of a call that hangs sleeps in C, as in a system call. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WRITE, SYNC, READ, TRUNCATE, OPERATIONS };
enum { PASS, FAIL, DELAY, HANG };

struct rule {
    int action;
    int value;   /* an errno, or milliseconds */
    int met;     /* how many calls the rule has met */
};

static volatile struct rule *rules;
static char folder[4096];

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("DISK_RULES"), *given = getenv("DISK_FOLDER");
    int file = path && given ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    snprintf(folder, sizeof folder, "%s/", given);
    void *found = mmap(NULL, sizeof(struct rule) * OPERATIONS, PROT_READ | PROT_WRITE, MAP_SHARED,
                       file, 0);
    close(file);
    if (found != MAP_FAILED)
        rules = found;
}

static int is_ours(int descriptor) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    return size > 0 && !strncmp(path, folder, strlen(folder));
}

/* Returns 0 if the call is to go on; else it fails with errno. */
static int meet(int operation, int descriptor) {
    if (!rules || rules[operation].action == PASS || !is_ours(descriptor))
        return 0;
    volatile struct rule *rule = &rules[operation];
    __sync_fetch_and_add((int *)&rule->met, 1);
    if (rule->action == FAIL) {
        errno = rule->value;
        return -1;
    }
    if (rule->action == DELAY)
        usleep(1000 * rule->value);
    while (rule->action == HANG)
        usleep(5000);
    return 0;
}

#define WRAP(result, name, operation, parameters, arguments)                  \
    result name parameters {                                                  \
        static result(*next) parameters;                                      \
        if (!next)                                                            \
            next = (result(*) parameters)dlsym(RTLD_NEXT, #name);             \
        return meet(operation, descriptor) ? -1 : next arguments;             \
    }

WRAP(ssize_t, pwrite, WRITE, (int descriptor, const void *data, size_t size, off_t at),
     (descriptor, data, size, at))
WRAP(ssize_t, pwrite64, WRITE, (int descriptor, const void *data, size_t size, off64_t at),
     (descriptor, data, size, at))
WRAP(ssize_t, pread, READ, (int descriptor, void *data, size_t size, off_t at),
     (descriptor, data, size, at))
WRAP(ssize_t, pread64, READ, (int descriptor, void *data, size_t size, off64_t at),
     (descriptor, data, size, at))
WRAP(int, fsync, SYNC, (int descriptor), (descriptor))
WRAP(int, fdatasync, SYNC, (int descriptor), (descriptor))
WRAP(int, ftruncate, TRUNCATE, (int descriptor, off_t size), (descriptor, size))
WRAP(int, ftruncate64, TRUNCATE, (int descriptor, off64_t size), (descriptor, size))
