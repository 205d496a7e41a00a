/* Version of the headers; tandem_version() tells that of the library. CMakeLists.txt reads it from here. C
   and C++. */
#ifndef TANDEM_VERSION_H
#define TANDEM_VERSION_H

#define TANDEM_VERSION_MAJOR 0
#define TANDEM_VERSION_MINOR 1
#define TANDEM_VERSION_PATCH 0

#endif
