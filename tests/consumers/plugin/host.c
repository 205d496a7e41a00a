/* Opens the plugin on a thread, calls it there and on the main thread, closes it, and goes on: threads end, a
   child is forked and the process exits without code or data of what was closed. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static const char* path;
static const float expected = 18; /* 16 * 0.5 * 9 * 0.25 */

static void* use(void* unused) {
    (void)unused;
    void* const plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (plugin == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return "opened";
    }
    float (*const compute)(void) = (float (*)(void))dlsym(plugin, "plugin_compute");
    const float y = compute == NULL ? -10 : compute();
    if (y != expected) {
        fprintf(stderr, "plugin_compute: %g\n", (double)y);
        return "run";
    }
    return dlclose(plugin) == 0 ? NULL : "closed";
}

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    path = argv[1];
    for (int round = 0; round < 3; ++round) {
        pthread_t thread;
        void* failed = NULL;
        if (pthread_create(&thread, NULL, use, NULL) != 0 || pthread_join(thread, &failed) != 0) return 2;
        if (failed == NULL) failed = use(NULL);
        if (failed != NULL) {
            fprintf(stderr, "round %d: the plugin could not be %s\n", round, (const char*)failed);
            return 1;
        }
    }
    const pid_t child = fork();
    if (child == 0) _exit(0);
    int status = 1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) return 1;
    puts("plugin opened, run and closed six times");
    return 0;
}
