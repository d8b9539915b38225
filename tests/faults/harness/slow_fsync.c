/* For LD_PRELOAD: a disk that takes SLOW_FSYNC_MS for each fsync, and is asked for it only then. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

static int slowly(const char *name, int descriptor)
{
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *milliseconds = getenv("SLOW_FSYNC_MS");
    long total = milliseconds ? atol(milliseconds) : 0;
    struct timespec left = {total / 1000, total % 1000 * 1000000L};

    while (nanosleep(&left, &left) == -1 && errno == EINTR)
        ;
    return sync(descriptor);
}

int fsync(int descriptor)
{
    return slowly("fsync", descriptor);
}

int fdatasync(int descriptor)
{
    return slowly("fdatasync", descriptor);
}
