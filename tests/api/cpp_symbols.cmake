# Holds what the shared library exports in C++ against the list beside this file; with -DBLESS=ON writes the list
# anew. Needs -DLIBRARY=... -DNM=... C's symbols, all of them tandem_*, have a list of their own.
cmake_policy(VERSION 3.25)
execute_process(COMMAND ${NM} --dynamic --defined-only --demangle ${LIBRARY}
  OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE ";" "," symbols "${symbols}")
string(REGEX REPLACE "[0-9a-f]+ [A-Za-z] ([^\n]*)\n" "\\1;" symbols "${symbols}")
list(TRANSFORM symbols REPLACE "@@.*$" "")
list(FILTER symbols EXCLUDE REGEX "^(tandem_[a-z0-9_]+|TANDEM_[A-Z0-9_.]+)$")
list(REMOVE_DUPLICATES symbols)  # two constructors or destructors of one class read alike
list(SORT symbols)
list(JOIN symbols "\n" text)
set(file ${CMAKE_CURRENT_LIST_DIR}/cpp_symbols.list)
if(BLESS)
  file(WRITE ${file} "${text}\n")
  return()
endif()
file(STRINGS ${file} expected)
set(added ${symbols})
list(REMOVE_ITEM added ${expected} "")
set(gone ${expected})
list(REMOVE_ITEM gone ${symbols} "")
list(JOIN added "\n  " added)
list(JOIN gone "\n  " gone)
if(added OR gone)
  message(FATAL_ERROR "Exported, but not in ${file}:\n  ${added}\nIn the list, but not exported:\n  ${gone}\n"
    "Where that is meant: cmake -DBLESS=ON -DNM=${NM} -DLIBRARY=${LIBRARY} -P ${CMAKE_CURRENT_LIST_FILE}")
endif()
