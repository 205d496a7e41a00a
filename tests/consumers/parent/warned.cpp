#if __cplusplus > 201703L
#error "Tandem's language standard reached its parent"
#endif

int warned() {
    int unused;  // -Wall warns
    return 0;
}
