; ModuleID = 'choices.c'
source_filename = "choices.c"
target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"
target triple = "bpf"

%struct.pair = type { i32, i32 }

@only_tgid = dso_local constant i32 0, align 4, !dbg !0
@step = dso_local constant i32 3, align 4, !dbg !11
@limit = dso_local local_unnamed_addr global i32 1000, align 4, !dbg !16
@negative = dso_local local_unnamed_addr global i32 -7, align 4, !dbg !19
@mode = dso_local local_unnamed_addr global i32 7, align 4, !dbg !21
@is_on = dso_local local_unnamed_addr global i8 1, align 1, !dbg !23
@label = dso_local local_unnamed_addr global [8 x i8] c"label\00\00\00", align 1, !dbg !26
@pair = dso_local local_unnamed_addr global %struct.pair { i32 1, i32 2 }, align 4, !dbg !32
@calls = dso_local global i64 0, align 8, !dbg !38
@others = dso_local global i64 0, align 8, !dbg !42
@last_length = dso_local local_unnamed_addr global i64 0, align 8, !dbg !44
@pointer = dso_local local_unnamed_addr global ptr null, align 8, !dbg !46
@program_license = dso_local global [13 x i8] c"Dual MIT/GPL\00", section "license", align 1, !dbg !55
@llvm.compiler.used = appending global [7 x ptr] [ptr @both, ptr @both_multi, ptr @counted, ptr @optional, ptr @program_license, ptr @refused, ptr @third], section "llvm.metadata"

; Function Attrs: nounwind
define dso_local i32 @counted(ptr nocapture readnone %0) #0 section "kprobe/vfs_read" !dbg !69 {
  call void @llvm.dbg.value(metadata ptr poison, metadata !73, metadata !DIExpression()), !dbg !74
  %2 = load volatile i32, ptr @only_tgid, align 4, !dbg !75, !tbaa !82
  %3 = icmp eq i32 %2, 0, !dbg !75
  br i1 %3, label %10, label %4, !dbg !86

4:                                                ; preds = %1
  %5 = tail call i64 inttoptr (i64 14 to ptr)() #2, !dbg !87
  %6 = lshr i64 %5, 32, !dbg !88
  %7 = load volatile i32, ptr @only_tgid, align 4, !dbg !89, !tbaa !82
  %8 = zext i32 %7 to i64, !dbg !89
  %9 = icmp eq i64 %6, %8, !dbg !90
  br i1 %9, label %10, label %39, !dbg !91

10:                                               ; preds = %4, %1
  %11 = load i8, ptr @is_on, align 1, !dbg !92, !tbaa !93, !range !95, !noundef !80
  %12 = icmp eq i8 %11, 0, !dbg !92
  %13 = load i32, ptr @mode, align 4
  %14 = icmp ne i32 %13, 7
  %15 = select i1 %12, i1 true, i1 %14, !dbg !96
  %16 = load i32, ptr @negative, align 4
  %17 = icmp ne i32 %16, -7
  %18 = select i1 %15, i1 true, i1 %17, !dbg !96
  br i1 %18, label %39, label %19, !dbg !96

19:                                               ; preds = %10
  %20 = load i64, ptr @calls, align 8, !dbg !97, !tbaa !99
  %21 = load i32, ptr @limit, align 4, !dbg !101, !tbaa !82
  %22 = zext i32 %21 to i64, !dbg !101
  %23 = icmp ult i64 %20, %22, !dbg !102
  br i1 %23, label %24, label %28, !dbg !103

24:                                               ; preds = %19
  %25 = load volatile i32, ptr @step, align 4, !dbg !104, !tbaa !82
  %26 = sext i32 %25 to i64, !dbg !104
  %27 = atomicrmw add ptr @calls, i64 %26 seq_cst, align 8, !dbg !105
  br label %28, !dbg !105

28:                                               ; preds = %24, %19
  %29 = load i8, ptr @label, align 1, !dbg !106, !tbaa !108
  %30 = icmp ne i8 %29, 108, !dbg !109
  %31 = load i32, ptr getelementptr inbounds (%struct.pair, ptr @pair, i64 0, i32 1), align 4
  %32 = icmp ne i32 %31, 2
  %33 = select i1 %30, i1 true, i1 %32, !dbg !110
  %34 = load ptr, ptr @pointer, align 8
  %35 = icmp ne ptr %34, null
  %36 = select i1 %33, i1 true, i1 %35, !dbg !110
  br i1 %36, label %37, label %39, !dbg !110

37:                                               ; preds = %28
  %38 = atomicrmw add ptr @others, i64 1 seq_cst, align 8, !dbg !111
  br label %39, !dbg !111

39:                                               ; preds = %4, %10, %28, %37
  ret i32 0, !dbg !112
}

; Function Attrs: nounwind
define dso_local i32 @optional(ptr nocapture readnone %0) #0 section "?kprobe/vfs_write" !dbg !113 {
  call void @llvm.dbg.value(metadata ptr poison, metadata !115, metadata !DIExpression()), !dbg !116
  %2 = load volatile i32, ptr @only_tgid, align 4, !dbg !117, !tbaa !82
  %3 = icmp eq i32 %2, 0, !dbg !117
  br i1 %3, label %10, label %4, !dbg !119

4:                                                ; preds = %1
  %5 = tail call i64 inttoptr (i64 14 to ptr)() #2, !dbg !120
  %6 = lshr i64 %5, 32, !dbg !121
  %7 = load volatile i32, ptr @only_tgid, align 4, !dbg !122, !tbaa !82
  %8 = zext i32 %7 to i64, !dbg !122
  %9 = icmp eq i64 %6, %8, !dbg !123
  br i1 %9, label %10, label %39, !dbg !124

10:                                               ; preds = %4, %1
  %11 = load i8, ptr @is_on, align 1, !dbg !125, !tbaa !93, !range !95, !noundef !80
  %12 = icmp eq i8 %11, 0, !dbg !125
  %13 = load i32, ptr @mode, align 4
  %14 = icmp ne i32 %13, 7
  %15 = select i1 %12, i1 true, i1 %14, !dbg !126
  %16 = load i32, ptr @negative, align 4
  %17 = icmp ne i32 %16, -7
  %18 = select i1 %15, i1 true, i1 %17, !dbg !126
  br i1 %18, label %39, label %19, !dbg !126

19:                                               ; preds = %10
  %20 = load i64, ptr @calls, align 8, !dbg !127, !tbaa !99
  %21 = load i32, ptr @limit, align 4, !dbg !128, !tbaa !82
  %22 = zext i32 %21 to i64, !dbg !128
  %23 = icmp ult i64 %20, %22, !dbg !129
  br i1 %23, label %24, label %28, !dbg !130

24:                                               ; preds = %19
  %25 = load volatile i32, ptr @step, align 4, !dbg !131, !tbaa !82
  %26 = sext i32 %25 to i64, !dbg !131
  %27 = atomicrmw add ptr @calls, i64 %26 seq_cst, align 8, !dbg !132
  br label %28, !dbg !132

28:                                               ; preds = %24, %19
  %29 = load i8, ptr @label, align 1, !dbg !133, !tbaa !108
  %30 = icmp ne i8 %29, 108, !dbg !134
  %31 = load i32, ptr getelementptr inbounds (%struct.pair, ptr @pair, i64 0, i32 1), align 4
  %32 = icmp ne i32 %31, 2
  %33 = select i1 %30, i1 true, i1 %32, !dbg !135
  %34 = load ptr, ptr @pointer, align 8
  %35 = icmp ne ptr %34, null
  %36 = select i1 %33, i1 true, i1 %35, !dbg !135
  br i1 %36, label %37, label %39, !dbg !135

37:                                               ; preds = %28
  %38 = atomicrmw add ptr @others, i64 1 seq_cst, align 8, !dbg !136
  br label %39, !dbg !136

39:                                               ; preds = %4, %10, %28, %37
  ret i32 0, !dbg !137
}

; Function Attrs: nounwind
define dso_local i32 @refused(ptr nocapture readnone %0) #0 section "kprobe/vfs_write" !dbg !138 {
  call void @llvm.dbg.value(metadata ptr poison, metadata !140, metadata !DIExpression()), !dbg !141
  %2 = tail call i64 inttoptr (i64 9999 to ptr)() #2, !dbg !142
  %3 = trunc i64 %2 to i32, !dbg !142
  ret i32 %3, !dbg !143
}

; Function Attrs: nounwind
define dso_local i32 @third(ptr nocapture noundef readonly %0) #0 section "fentry/vfs_read" !dbg !144 {
  call void @llvm.dbg.value(metadata ptr %0, metadata !149, metadata !DIExpression()), !dbg !150
  %2 = getelementptr inbounds i64, ptr %0, i64 2, !dbg !151
  %3 = load i64, ptr %2, align 8, !dbg !151, !tbaa !99
  store i64 %3, ptr @last_length, align 8, !dbg !152, !tbaa !99
  %4 = load volatile i32, ptr @only_tgid, align 4, !dbg !153, !tbaa !82
  %5 = icmp eq i32 %4, 0, !dbg !153
  br i1 %5, label %12, label %6, !dbg !155

6:                                                ; preds = %1
  %7 = tail call i64 inttoptr (i64 14 to ptr)() #2, !dbg !156
  %8 = lshr i64 %7, 32, !dbg !157
  %9 = load volatile i32, ptr @only_tgid, align 4, !dbg !158, !tbaa !82
  %10 = zext i32 %9 to i64, !dbg !158
  %11 = icmp eq i64 %8, %10, !dbg !159
  br i1 %11, label %12, label %41, !dbg !160

12:                                               ; preds = %6, %1
  %13 = load i8, ptr @is_on, align 1, !dbg !161, !tbaa !93, !range !95, !noundef !80
  %14 = icmp eq i8 %13, 0, !dbg !161
  %15 = load i32, ptr @mode, align 4
  %16 = icmp ne i32 %15, 7
  %17 = select i1 %14, i1 true, i1 %16, !dbg !162
  %18 = load i32, ptr @negative, align 4
  %19 = icmp ne i32 %18, -7
  %20 = select i1 %17, i1 true, i1 %19, !dbg !162
  br i1 %20, label %41, label %21, !dbg !162

21:                                               ; preds = %12
  %22 = load i64, ptr @calls, align 8, !dbg !163, !tbaa !99
  %23 = load i32, ptr @limit, align 4, !dbg !164, !tbaa !82
  %24 = zext i32 %23 to i64, !dbg !164
  %25 = icmp ult i64 %22, %24, !dbg !165
  br i1 %25, label %26, label %30, !dbg !166

26:                                               ; preds = %21
  %27 = load volatile i32, ptr @step, align 4, !dbg !167, !tbaa !82
  %28 = sext i32 %27 to i64, !dbg !167
  %29 = atomicrmw add ptr @calls, i64 %28 seq_cst, align 8, !dbg !168
  br label %30, !dbg !168

30:                                               ; preds = %26, %21
  %31 = load i8, ptr @label, align 1, !dbg !169, !tbaa !108
  %32 = icmp ne i8 %31, 108, !dbg !170
  %33 = load i32, ptr getelementptr inbounds (%struct.pair, ptr @pair, i64 0, i32 1), align 4
  %34 = icmp ne i32 %33, 2
  %35 = select i1 %32, i1 true, i1 %34, !dbg !171
  %36 = load ptr, ptr @pointer, align 8
  %37 = icmp ne ptr %36, null
  %38 = select i1 %35, i1 true, i1 %37, !dbg !171
  br i1 %38, label %39, label %41, !dbg !171

39:                                               ; preds = %30
  %40 = atomicrmw add ptr @others, i64 1 seq_cst, align 8, !dbg !172
  br label %41, !dbg !172

41:                                               ; preds = %6, %12, %30, %39
  ret i32 0, !dbg !173
}

; Function Attrs: nounwind
define dso_local i32 @both(ptr nocapture readnone %0) #0 section "fsession/vfs_read" !dbg !174 {
  call void @llvm.dbg.value(metadata ptr poison, metadata !176, metadata !DIExpression()), !dbg !177
  %2 = load volatile i32, ptr @only_tgid, align 4, !dbg !178, !tbaa !82
  %3 = icmp eq i32 %2, 0, !dbg !178
  br i1 %3, label %10, label %4, !dbg !180

4:                                                ; preds = %1
  %5 = tail call i64 inttoptr (i64 14 to ptr)() #2, !dbg !181
  %6 = lshr i64 %5, 32, !dbg !182
  %7 = load volatile i32, ptr @only_tgid, align 4, !dbg !183, !tbaa !82
  %8 = zext i32 %7 to i64, !dbg !183
  %9 = icmp eq i64 %6, %8, !dbg !184
  br i1 %9, label %10, label %39, !dbg !185

10:                                               ; preds = %4, %1
  %11 = load i8, ptr @is_on, align 1, !dbg !186, !tbaa !93, !range !95, !noundef !80
  %12 = icmp eq i8 %11, 0, !dbg !186
  %13 = load i32, ptr @mode, align 4
  %14 = icmp ne i32 %13, 7
  %15 = select i1 %12, i1 true, i1 %14, !dbg !187
  %16 = load i32, ptr @negative, align 4
  %17 = icmp ne i32 %16, -7
  %18 = select i1 %15, i1 true, i1 %17, !dbg !187
  br i1 %18, label %39, label %19, !dbg !187

19:                                               ; preds = %10
  %20 = load i64, ptr @calls, align 8, !dbg !188, !tbaa !99
  %21 = load i32, ptr @limit, align 4, !dbg !189, !tbaa !82
  %22 = zext i32 %21 to i64, !dbg !189
  %23 = icmp ult i64 %20, %22, !dbg !190
  br i1 %23, label %24, label %28, !dbg !191

24:                                               ; preds = %19
  %25 = load volatile i32, ptr @step, align 4, !dbg !192, !tbaa !82
  %26 = sext i32 %25 to i64, !dbg !192
  %27 = atomicrmw add ptr @calls, i64 %26 seq_cst, align 8, !dbg !193
  br label %28, !dbg !193

28:                                               ; preds = %24, %19
  %29 = load i8, ptr @label, align 1, !dbg !194, !tbaa !108
  %30 = icmp ne i8 %29, 108, !dbg !195
  %31 = load i32, ptr getelementptr inbounds (%struct.pair, ptr @pair, i64 0, i32 1), align 4
  %32 = icmp ne i32 %31, 2
  %33 = select i1 %30, i1 true, i1 %32, !dbg !196
  %34 = load ptr, ptr @pointer, align 8
  %35 = icmp ne ptr %34, null
  %36 = select i1 %33, i1 true, i1 %35, !dbg !196
  br i1 %36, label %37, label %39, !dbg !196

37:                                               ; preds = %28
  %38 = atomicrmw add ptr @others, i64 1 seq_cst, align 8, !dbg !197
  br label %39, !dbg !197

39:                                               ; preds = %4, %10, %28, %37
  ret i32 0, !dbg !198
}

; Function Attrs: nounwind
define dso_local i32 @both_multi(ptr nocapture readnone %0) #0 section "fsession.multi/vfs_*" !dbg !199 {
  call void @llvm.dbg.value(metadata ptr poison, metadata !201, metadata !DIExpression()), !dbg !202
  %2 = load volatile i32, ptr @only_tgid, align 4, !dbg !203, !tbaa !82
  %3 = icmp eq i32 %2, 0, !dbg !203
  br i1 %3, label %10, label %4, !dbg !205

4:                                                ; preds = %1
  %5 = tail call i64 inttoptr (i64 14 to ptr)() #2, !dbg !206
  %6 = lshr i64 %5, 32, !dbg !207
  %7 = load volatile i32, ptr @only_tgid, align 4, !dbg !208, !tbaa !82
  %8 = zext i32 %7 to i64, !dbg !208
  %9 = icmp eq i64 %6, %8, !dbg !209
  br i1 %9, label %10, label %39, !dbg !210

10:                                               ; preds = %4, %1
  %11 = load i8, ptr @is_on, align 1, !dbg !211, !tbaa !93, !range !95, !noundef !80
  %12 = icmp eq i8 %11, 0, !dbg !211
  %13 = load i32, ptr @mode, align 4
  %14 = icmp ne i32 %13, 7
  %15 = select i1 %12, i1 true, i1 %14, !dbg !212
  %16 = load i32, ptr @negative, align 4
  %17 = icmp ne i32 %16, -7
  %18 = select i1 %15, i1 true, i1 %17, !dbg !212
  br i1 %18, label %39, label %19, !dbg !212

19:                                               ; preds = %10
  %20 = load i64, ptr @calls, align 8, !dbg !213, !tbaa !99
  %21 = load i32, ptr @limit, align 4, !dbg !214, !tbaa !82
  %22 = zext i32 %21 to i64, !dbg !214
  %23 = icmp ult i64 %20, %22, !dbg !215
  br i1 %23, label %24, label %28, !dbg !216

24:                                               ; preds = %19
  %25 = load volatile i32, ptr @step, align 4, !dbg !217, !tbaa !82
  %26 = sext i32 %25 to i64, !dbg !217
  %27 = atomicrmw add ptr @calls, i64 %26 seq_cst, align 8, !dbg !218
  br label %28, !dbg !218

28:                                               ; preds = %24, %19
  %29 = load i8, ptr @label, align 1, !dbg !219, !tbaa !108
  %30 = icmp ne i8 %29, 108, !dbg !220
  %31 = load i32, ptr getelementptr inbounds (%struct.pair, ptr @pair, i64 0, i32 1), align 4
  %32 = icmp ne i32 %31, 2
  %33 = select i1 %30, i1 true, i1 %32, !dbg !221
  %34 = load ptr, ptr @pointer, align 8
  %35 = icmp ne ptr %34, null
  %36 = select i1 %33, i1 true, i1 %35, !dbg !221
  br i1 %36, label %37, label %39, !dbg !221

37:                                               ; preds = %28
  %38 = atomicrmw add ptr @others, i64 1 seq_cst, align 8, !dbg !222
  br label %39, !dbg !222

39:                                               ; preds = %4, %10, %28, %37
  ret i32 0, !dbg !223
}

; Function Attrs: nocallback nofree nosync nounwind speculatable willreturn memory(none)
declare void @llvm.dbg.value(metadata, metadata, metadata) #1

attributes #0 = { nounwind "frame-pointer"="all" "no-trapping-math"="true" "stack-protector-buffer-size"="8" "target-cpu"="v3" }
attributes #1 = { nocallback nofree nosync nounwind speculatable willreturn memory(none) }
attributes #2 = { nounwind }

!llvm.dbg.cu = !{!2}
!llvm.module.flags = !{!64, !65, !66, !67}
!llvm.ident = !{!68}

!0 = !DIGlobalVariableExpression(var: !1, expr: !DIExpression())
!1 = distinct !DIGlobalVariable(name: "only_tgid", scope: !2, file: !3, line: 18, type: !62, isLocal: false, isDefinition: true)
!2 = distinct !DICompileUnit(language: DW_LANG_C11, file: !3, producer: "Debian clang version 16.0.6 (15~deb12u1)", isOptimized: true, runtimeVersion: 0, emissionKind: FullDebug, enums: !4, globals: !10, splitDebugInlining: false, nameTableKind: None)
!3 = !DIFile(filename: "choices.c", directory: ".", checksumkind: CSK_MD5, checksum: "e32f489523e93e61554cd7cb4dcf2180")
!4 = !{!5}
!5 = !DICompositeType(tag: DW_TAG_enumeration_type, name: "mode", file: !3, line: 12, baseType: !6, size: 32, elements: !7)
!6 = !DIBasicType(name: "unsigned int", size: 32, encoding: DW_ATE_unsigned)
!7 = !{!8, !9}
!8 = !DIEnumerator(name: "OFF", value: 0)
!9 = !DIEnumerator(name: "ON", value: 7)
!10 = !{!0, !11, !16, !19, !21, !23, !26, !32, !38, !42, !44, !46, !49, !55, !60}
!11 = !DIGlobalVariableExpression(var: !12, expr: !DIExpression())
!12 = distinct !DIGlobalVariable(name: "step", scope: !2, file: !3, line: 19, type: !13, isLocal: false, isDefinition: true)
!13 = !DIDerivedType(tag: DW_TAG_const_type, baseType: !14)
!14 = !DIDerivedType(tag: DW_TAG_volatile_type, baseType: !15)
!15 = !DIBasicType(name: "int", size: 32, encoding: DW_ATE_signed)
!16 = !DIGlobalVariableExpression(var: !17, expr: !DIExpression())
!17 = distinct !DIGlobalVariable(name: "limit", scope: !2, file: !3, line: 21, type: !18, isLocal: false, isDefinition: true)
!18 = !DIDerivedType(tag: DW_TAG_typedef, name: "u32", file: !3, line: 6, baseType: !6)
!19 = !DIGlobalVariableExpression(var: !20, expr: !DIExpression())
!20 = distinct !DIGlobalVariable(name: "negative", scope: !2, file: !3, line: 22, type: !15, isLocal: false, isDefinition: true)
!21 = !DIGlobalVariableExpression(var: !22, expr: !DIExpression())
!22 = distinct !DIGlobalVariable(name: "mode", scope: !2, file: !3, line: 23, type: !5, isLocal: false, isDefinition: true)
!23 = !DIGlobalVariableExpression(var: !24, expr: !DIExpression())
!24 = distinct !DIGlobalVariable(name: "is_on", scope: !2, file: !3, line: 24, type: !25, isLocal: false, isDefinition: true)
!25 = !DIBasicType(name: "_Bool", size: 8, encoding: DW_ATE_boolean)
!26 = !DIGlobalVariableExpression(var: !27, expr: !DIExpression())
!27 = distinct !DIGlobalVariable(name: "label", scope: !2, file: !3, line: 25, type: !28, isLocal: false, isDefinition: true)
!28 = !DICompositeType(tag: DW_TAG_array_type, baseType: !29, size: 64, elements: !30)
!29 = !DIBasicType(name: "char", size: 8, encoding: DW_ATE_signed_char)
!30 = !{!31}
!31 = !DISubrange(count: 8)
!32 = !DIGlobalVariableExpression(var: !33, expr: !DIExpression())
!33 = distinct !DIGlobalVariable(name: "pair", scope: !2, file: !3, line: 26, type: !34, isLocal: false, isDefinition: true)
!34 = distinct !DICompositeType(tag: DW_TAG_structure_type, name: "pair", file: !3, line: 13, size: 64, elements: !35)
!35 = !{!36, !37}
!36 = !DIDerivedType(tag: DW_TAG_member, name: "one", scope: !34, file: !3, line: 14, baseType: !18, size: 32)
!37 = !DIDerivedType(tag: DW_TAG_member, name: "two", scope: !34, file: !3, line: 14, baseType: !18, size: 32, offset: 32)
!38 = !DIGlobalVariableExpression(var: !39, expr: !DIExpression())
!39 = distinct !DIGlobalVariable(name: "calls", scope: !2, file: !3, line: 28, type: !40, isLocal: false, isDefinition: true)
!40 = !DIDerivedType(tag: DW_TAG_typedef, name: "u64", file: !3, line: 7, baseType: !41)
!41 = !DIBasicType(name: "unsigned long long", size: 64, encoding: DW_ATE_unsigned)
!42 = !DIGlobalVariableExpression(var: !43, expr: !DIExpression())
!43 = distinct !DIGlobalVariable(name: "others", scope: !2, file: !3, line: 29, type: !40, isLocal: false, isDefinition: true)
!44 = !DIGlobalVariableExpression(var: !45, expr: !DIExpression())
!45 = distinct !DIGlobalVariable(name: "last_length", scope: !2, file: !3, line: 30, type: !40, isLocal: false, isDefinition: true)
!46 = !DIGlobalVariableExpression(var: !47, expr: !DIExpression())
!47 = distinct !DIGlobalVariable(name: "pointer", scope: !2, file: !3, line: 31, type: !48, isLocal: false, isDefinition: true)
!48 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: null, size: 64)
!49 = !DIGlobalVariableExpression(var: !50, expr: !DIExpression())
!50 = distinct !DIGlobalVariable(name: "no_such_helper", scope: !2, file: !3, line: 10, type: !51, isLocal: true, isDefinition: true)
!51 = !DIDerivedType(tag: DW_TAG_const_type, baseType: !52)
!52 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !53, size: 64)
!53 = !DISubroutineType(types: !54)
!54 = !{!40}
!55 = !DIGlobalVariableExpression(var: !56, expr: !DIExpression())
!56 = distinct !DIGlobalVariable(name: "program_license", scope: !2, file: !3, line: 83, type: !57, isLocal: false, isDefinition: true)
!57 = !DICompositeType(tag: DW_TAG_array_type, baseType: !29, size: 104, elements: !58)
!58 = !{!59}
!59 = !DISubrange(count: 13)
!60 = !DIGlobalVariableExpression(var: !61, expr: !DIExpression())
!61 = distinct !DIGlobalVariable(name: "get_pid_tgid", scope: !2, file: !3, line: 9, type: !51, isLocal: true, isDefinition: true)
!62 = !DIDerivedType(tag: DW_TAG_const_type, baseType: !63)
!63 = !DIDerivedType(tag: DW_TAG_volatile_type, baseType: !18)
!64 = !{i32 7, !"Dwarf Version", i32 5}
!65 = !{i32 2, !"Debug Info Version", i32 3}
!66 = !{i32 1, !"wchar_size", i32 4}
!67 = !{i32 7, !"frame-pointer", i32 2}
!68 = !{!"Debian clang version 16.0.6 (15~deb12u1)"}
!69 = distinct !DISubprogram(name: "counted", scope: !3, file: !3, line: 45, type: !70, scopeLine: 46, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !72)
!70 = !DISubroutineType(types: !71)
!71 = !{!15, !48}
!72 = !{!73}
!73 = !DILocalVariable(name: "ctx", arg: 1, scope: !69, file: !3, line: 45, type: !48)
!74 = !DILocation(line: 0, scope: !69)
!75 = !DILocation(line: 35, column: 7, scope: !76, inlinedAt: !81)
!76 = distinct !DILexicalBlock(scope: !77, file: !3, line: 35, column: 6)
!77 = distinct !DISubprogram(name: "count", scope: !3, file: !3, line: 33, type: !78, scopeLine: 34, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagLocalToUnit | DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !80)
!78 = !DISubroutineType(types: !79)
!79 = !{!15}
!80 = !{}
!81 = distinct !DILocation(line: 47, column: 9, scope: !69)
!82 = !{!83, !83, i64 0}
!83 = !{!"int", !84, i64 0}
!84 = !{!"omnipotent char", !85, i64 0}
!85 = !{!"Simple C/C++ TBAA"}
!86 = !DILocation(line: 35, column: 17, scope: !76, inlinedAt: !81)
!87 = !DILocation(line: 35, column: 20, scope: !76, inlinedAt: !81)
!88 = !DILocation(line: 35, column: 35, scope: !76, inlinedAt: !81)
!89 = !DILocation(line: 35, column: 44, scope: !76, inlinedAt: !81)
!90 = !DILocation(line: 35, column: 41, scope: !76, inlinedAt: !81)
!91 = !DILocation(line: 35, column: 55, scope: !76, inlinedAt: !81)
!92 = !DILocation(line: 35, column: 59, scope: !76, inlinedAt: !81)
!93 = !{!94, !94, i64 0}
!94 = !{!"_Bool", !84, i64 0}
!95 = !{i8 0, i8 2}
!96 = !DILocation(line: 35, column: 65, scope: !76, inlinedAt: !81)
!97 = !DILocation(line: 37, column: 6, scope: !98, inlinedAt: !81)
!98 = distinct !DILexicalBlock(scope: !77, file: !3, line: 37, column: 6)
!99 = !{!100, !100, i64 0}
!100 = !{!"long long", !84, i64 0}
!101 = !DILocation(line: 37, column: 14, scope: !98, inlinedAt: !81)
!102 = !DILocation(line: 37, column: 12, scope: !98, inlinedAt: !81)
!103 = !DILocation(line: 37, column: 6, scope: !77, inlinedAt: !81)
!104 = !DILocation(line: 38, column: 32, scope: !98, inlinedAt: !81)
!105 = !DILocation(line: 38, column: 3, scope: !98, inlinedAt: !81)
!106 = !DILocation(line: 39, column: 6, scope: !107, inlinedAt: !81)
!107 = distinct !DILexicalBlock(scope: !77, file: !3, line: 39, column: 6)
!108 = !{!84, !84, i64 0}
!109 = !DILocation(line: 39, column: 15, scope: !107, inlinedAt: !81)
!110 = !DILocation(line: 39, column: 22, scope: !107, inlinedAt: !81)
!111 = !DILocation(line: 40, column: 3, scope: !107, inlinedAt: !81)
!112 = !DILocation(line: 47, column: 2, scope: !69)
!113 = distinct !DISubprogram(name: "optional", scope: !3, file: !3, line: 51, type: !70, scopeLine: 52, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !114)
!114 = !{!115}
!115 = !DILocalVariable(name: "ctx", arg: 1, scope: !113, file: !3, line: 51, type: !48)
!116 = !DILocation(line: 0, scope: !113)
!117 = !DILocation(line: 35, column: 7, scope: !76, inlinedAt: !118)
!118 = distinct !DILocation(line: 53, column: 9, scope: !113)
!119 = !DILocation(line: 35, column: 17, scope: !76, inlinedAt: !118)
!120 = !DILocation(line: 35, column: 20, scope: !76, inlinedAt: !118)
!121 = !DILocation(line: 35, column: 35, scope: !76, inlinedAt: !118)
!122 = !DILocation(line: 35, column: 44, scope: !76, inlinedAt: !118)
!123 = !DILocation(line: 35, column: 41, scope: !76, inlinedAt: !118)
!124 = !DILocation(line: 35, column: 55, scope: !76, inlinedAt: !118)
!125 = !DILocation(line: 35, column: 59, scope: !76, inlinedAt: !118)
!126 = !DILocation(line: 35, column: 65, scope: !76, inlinedAt: !118)
!127 = !DILocation(line: 37, column: 6, scope: !98, inlinedAt: !118)
!128 = !DILocation(line: 37, column: 14, scope: !98, inlinedAt: !118)
!129 = !DILocation(line: 37, column: 12, scope: !98, inlinedAt: !118)
!130 = !DILocation(line: 37, column: 6, scope: !77, inlinedAt: !118)
!131 = !DILocation(line: 38, column: 32, scope: !98, inlinedAt: !118)
!132 = !DILocation(line: 38, column: 3, scope: !98, inlinedAt: !118)
!133 = !DILocation(line: 39, column: 6, scope: !107, inlinedAt: !118)
!134 = !DILocation(line: 39, column: 15, scope: !107, inlinedAt: !118)
!135 = !DILocation(line: 39, column: 22, scope: !107, inlinedAt: !118)
!136 = !DILocation(line: 40, column: 3, scope: !107, inlinedAt: !118)
!137 = !DILocation(line: 53, column: 2, scope: !113)
!138 = distinct !DISubprogram(name: "refused", scope: !3, file: !3, line: 58, type: !70, scopeLine: 59, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !139)
!139 = !{!140}
!140 = !DILocalVariable(name: "ctx", arg: 1, scope: !138, file: !3, line: 58, type: !48)
!141 = !DILocation(line: 0, scope: !138)
!142 = !DILocation(line: 60, column: 9, scope: !138)
!143 = !DILocation(line: 60, column: 2, scope: !138)
!144 = distinct !DISubprogram(name: "third", scope: !3, file: !3, line: 65, type: !145, scopeLine: 66, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !148)
!145 = !DISubroutineType(types: !146)
!146 = !{!15, !147}
!147 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !40, size: 64)
!148 = !{!149}
!149 = !DILocalVariable(name: "ctx", arg: 1, scope: !144, file: !3, line: 65, type: !147)
!150 = !DILocation(line: 0, scope: !144)
!151 = !DILocation(line: 67, column: 16, scope: !144)
!152 = !DILocation(line: 67, column: 14, scope: !144)
!153 = !DILocation(line: 35, column: 7, scope: !76, inlinedAt: !154)
!154 = distinct !DILocation(line: 68, column: 9, scope: !144)
!155 = !DILocation(line: 35, column: 17, scope: !76, inlinedAt: !154)
!156 = !DILocation(line: 35, column: 20, scope: !76, inlinedAt: !154)
!157 = !DILocation(line: 35, column: 35, scope: !76, inlinedAt: !154)
!158 = !DILocation(line: 35, column: 44, scope: !76, inlinedAt: !154)
!159 = !DILocation(line: 35, column: 41, scope: !76, inlinedAt: !154)
!160 = !DILocation(line: 35, column: 55, scope: !76, inlinedAt: !154)
!161 = !DILocation(line: 35, column: 59, scope: !76, inlinedAt: !154)
!162 = !DILocation(line: 35, column: 65, scope: !76, inlinedAt: !154)
!163 = !DILocation(line: 37, column: 6, scope: !98, inlinedAt: !154)
!164 = !DILocation(line: 37, column: 14, scope: !98, inlinedAt: !154)
!165 = !DILocation(line: 37, column: 12, scope: !98, inlinedAt: !154)
!166 = !DILocation(line: 37, column: 6, scope: !77, inlinedAt: !154)
!167 = !DILocation(line: 38, column: 32, scope: !98, inlinedAt: !154)
!168 = !DILocation(line: 38, column: 3, scope: !98, inlinedAt: !154)
!169 = !DILocation(line: 39, column: 6, scope: !107, inlinedAt: !154)
!170 = !DILocation(line: 39, column: 15, scope: !107, inlinedAt: !154)
!171 = !DILocation(line: 39, column: 22, scope: !107, inlinedAt: !154)
!172 = !DILocation(line: 40, column: 3, scope: !107, inlinedAt: !154)
!173 = !DILocation(line: 68, column: 2, scope: !144)
!174 = distinct !DISubprogram(name: "both", scope: !3, file: !3, line: 72, type: !145, scopeLine: 73, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !175)
!175 = !{!176}
!176 = !DILocalVariable(name: "ctx", arg: 1, scope: !174, file: !3, line: 72, type: !147)
!177 = !DILocation(line: 0, scope: !174)
!178 = !DILocation(line: 35, column: 7, scope: !76, inlinedAt: !179)
!179 = distinct !DILocation(line: 74, column: 9, scope: !174)
!180 = !DILocation(line: 35, column: 17, scope: !76, inlinedAt: !179)
!181 = !DILocation(line: 35, column: 20, scope: !76, inlinedAt: !179)
!182 = !DILocation(line: 35, column: 35, scope: !76, inlinedAt: !179)
!183 = !DILocation(line: 35, column: 44, scope: !76, inlinedAt: !179)
!184 = !DILocation(line: 35, column: 41, scope: !76, inlinedAt: !179)
!185 = !DILocation(line: 35, column: 55, scope: !76, inlinedAt: !179)
!186 = !DILocation(line: 35, column: 59, scope: !76, inlinedAt: !179)
!187 = !DILocation(line: 35, column: 65, scope: !76, inlinedAt: !179)
!188 = !DILocation(line: 37, column: 6, scope: !98, inlinedAt: !179)
!189 = !DILocation(line: 37, column: 14, scope: !98, inlinedAt: !179)
!190 = !DILocation(line: 37, column: 12, scope: !98, inlinedAt: !179)
!191 = !DILocation(line: 37, column: 6, scope: !77, inlinedAt: !179)
!192 = !DILocation(line: 38, column: 32, scope: !98, inlinedAt: !179)
!193 = !DILocation(line: 38, column: 3, scope: !98, inlinedAt: !179)
!194 = !DILocation(line: 39, column: 6, scope: !107, inlinedAt: !179)
!195 = !DILocation(line: 39, column: 15, scope: !107, inlinedAt: !179)
!196 = !DILocation(line: 39, column: 22, scope: !107, inlinedAt: !179)
!197 = !DILocation(line: 40, column: 3, scope: !107, inlinedAt: !179)
!198 = !DILocation(line: 74, column: 2, scope: !174)
!199 = distinct !DISubprogram(name: "both_multi", scope: !3, file: !3, line: 78, type: !145, scopeLine: 79, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !200)
!200 = !{!201}
!201 = !DILocalVariable(name: "ctx", arg: 1, scope: !199, file: !3, line: 78, type: !147)
!202 = !DILocation(line: 0, scope: !199)
!203 = !DILocation(line: 35, column: 7, scope: !76, inlinedAt: !204)
!204 = distinct !DILocation(line: 80, column: 9, scope: !199)
!205 = !DILocation(line: 35, column: 17, scope: !76, inlinedAt: !204)
!206 = !DILocation(line: 35, column: 20, scope: !76, inlinedAt: !204)
!207 = !DILocation(line: 35, column: 35, scope: !76, inlinedAt: !204)
!208 = !DILocation(line: 35, column: 44, scope: !76, inlinedAt: !204)
!209 = !DILocation(line: 35, column: 41, scope: !76, inlinedAt: !204)
!210 = !DILocation(line: 35, column: 55, scope: !76, inlinedAt: !204)
!211 = !DILocation(line: 35, column: 59, scope: !76, inlinedAt: !204)
!212 = !DILocation(line: 35, column: 65, scope: !76, inlinedAt: !204)
!213 = !DILocation(line: 37, column: 6, scope: !98, inlinedAt: !204)
!214 = !DILocation(line: 37, column: 14, scope: !98, inlinedAt: !204)
!215 = !DILocation(line: 37, column: 12, scope: !98, inlinedAt: !204)
!216 = !DILocation(line: 37, column: 6, scope: !77, inlinedAt: !204)
!217 = !DILocation(line: 38, column: 32, scope: !98, inlinedAt: !204)
!218 = !DILocation(line: 38, column: 3, scope: !98, inlinedAt: !204)
!219 = !DILocation(line: 39, column: 6, scope: !107, inlinedAt: !204)
!220 = !DILocation(line: 39, column: 15, scope: !107, inlinedAt: !204)
!221 = !DILocation(line: 39, column: 22, scope: !107, inlinedAt: !204)
!222 = !DILocation(line: 40, column: 3, scope: !107, inlinedAt: !204)
!223 = !DILocation(line: 80, column: 2, scope: !199)
