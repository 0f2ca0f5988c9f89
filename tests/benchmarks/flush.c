/* Makes every flush to the disk take as long as on slow disks.
 *
 * Given by LD_PRELOAD. A flush does its work and then sleeps for what is left of the
 * time, outside of any lock: flushes that overlap wait beside each other, as on a disk
 * that serves them together. Errors are the flush's own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

typedef int flush(int);

static long long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int slowly(const char *name, int descriptor)
{
    const char *least = getenv("BENCHMARK_FLUSH_MS");
    long long until = now() + (long long)((least ? atof(least) : 0) * 1e6);
    int result = ((flush *)dlsym(RTLD_NEXT, name))(descriptor);
    int error = errno;
    struct timespec time = {until / 1000000000LL, until % 1000000000LL};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR)
        ;
    errno = error;
    return result;
}

int fsync(int descriptor) { return slowly("fsync", descriptor); }
int fdatasync(int descriptor) { return slowly("fdatasync", descriptor); }
int syncfs(int descriptor) { return slowly("syncfs", descriptor); }
