/* What the shared library exports: what is marked TANDEM_API, and nothing else; TANDEM_HIDDEN marks what
   belongs to such a class and is not exported with it. C and C++. */
#ifndef TANDEM_EXPORT_H
#define TANDEM_EXPORT_H

#if defined(__GNUC__)
#define TANDEM_API __attribute__((visibility("default")))
#define TANDEM_HIDDEN __attribute__((visibility("hidden")))
#else
#define TANDEM_API
#define TANDEM_HIDDEN
#endif

#endif
