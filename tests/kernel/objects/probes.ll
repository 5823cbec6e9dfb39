; ModuleID = 'probes.c'
source_filename = "probes.c"
target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"
target triple = "bpf"

%struct.anon = type { ptr, ptr, ptr, ptr }
%struct.anon.0 = type { ptr, ptr, ptr, ptr }

@only_tgid = dso_local local_unnamed_addr global i32 0, align 4, !dbg !0
@total = dso_local global i64 0, align 8, !dbg !7
@tgids = dso_local global %struct.anon zeroinitializer, section ".maps", align 8, !dbg !64
@program_license = dso_local global [13 x i8] c"Dual MIT/GPL\00", section "license", align 1, !dbg !40
@hits = dso_local global %struct.anon.0 zeroinitializer, section ".maps", align 8, !dbg !46
@"llvm.task_struct:0:0$0:0" = external global i64, !llvm.preserve.access.index !89 #0
@llvm.compiler.used = appending global [10 x ptr] [ptr @entry, ptr @entry_multi, ptr @hits, ptr @multi, ptr @multi_return, ptr @packet, ptr @program_license, ptr @session, ptr @single, ptr @tgids], section "llvm.metadata"

; Function Attrs: nounwind
define dso_local i32 @multi(ptr noundef %0) #1 section "kprobe.multi/vfs_*" !dbg !97 {
  %2 = alloca i64, align 8
  %3 = alloca i64, align 8
  call void @llvm.dbg.value(metadata ptr %0, metadata !103, metadata !DIExpression()), !dbg !104
  %4 = tail call i64 inttoptr (i64 174 to ptr)(ptr noundef %0) #8, !dbg !105
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %2), !dbg !106
  call void @llvm.dbg.value(metadata i64 %4, metadata !111, metadata !DIExpression()), !dbg !106
  store i64 %4, ptr %2, align 8, !tbaa !115
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %3) #8, !dbg !119
  call void @llvm.dbg.value(metadata i64 1, metadata !112, metadata !DIExpression()), !dbg !106
  store i64 1, ptr %3, align 8, !dbg !120, !tbaa !115
  %5 = tail call fastcc i32 @is_meant(), !dbg !121
  %6 = icmp eq i32 %5, 0, !dbg !121
  br i1 %6, label %15, label %7, !dbg !123

7:                                                ; preds = %1
  %8 = atomicrmw add ptr @total, i64 1 seq_cst, align 8, !dbg !124
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !106
  %9 = call ptr inttoptr (i64 1 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2) #8, !dbg !125
  call void @llvm.dbg.value(metadata ptr %9, metadata !113, metadata !DIExpression()), !dbg !106
  %10 = icmp eq ptr %9, null, !dbg !126
  br i1 %10, label %13, label %11, !dbg !128

11:                                               ; preds = %7
  %12 = atomicrmw add ptr %9, i64 1 seq_cst, align 8, !dbg !129
  br label %15, !dbg !129

13:                                               ; preds = %7
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !106
  call void @llvm.dbg.value(metadata ptr %3, metadata !112, metadata !DIExpression(DW_OP_deref)), !dbg !106
  %14 = call i64 inttoptr (i64 2 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2, ptr noundef nonnull %3, i64 noundef 0) #8, !dbg !130
  br label %15

15:                                               ; preds = %1, %11, %13
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %3) #8, !dbg !131
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %2), !dbg !131
  ret i32 0, !dbg !132
}

; Function Attrs: nounwind
define dso_local i32 @multi_return(ptr noundef %0) #1 section "kretprobe.multi" !dbg !133 {
  %2 = alloca i64, align 8
  %3 = alloca i64, align 8
  call void @llvm.dbg.value(metadata ptr %0, metadata !135, metadata !DIExpression()), !dbg !136
  %4 = tail call i64 inttoptr (i64 174 to ptr)(ptr noundef %0) #8, !dbg !137
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %2), !dbg !138
  call void @llvm.dbg.value(metadata i64 %4, metadata !111, metadata !DIExpression()), !dbg !138
  store i64 %4, ptr %2, align 8, !tbaa !115
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %3) #8, !dbg !140
  call void @llvm.dbg.value(metadata i64 1, metadata !112, metadata !DIExpression()), !dbg !138
  store i64 1, ptr %3, align 8, !dbg !141, !tbaa !115
  %5 = tail call fastcc i32 @is_meant(), !dbg !142
  %6 = icmp eq i32 %5, 0, !dbg !142
  br i1 %6, label %15, label %7, !dbg !143

7:                                                ; preds = %1
  %8 = atomicrmw add ptr @total, i64 1 seq_cst, align 8, !dbg !144
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !138
  %9 = call ptr inttoptr (i64 1 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2) #8, !dbg !145
  call void @llvm.dbg.value(metadata ptr %9, metadata !113, metadata !DIExpression()), !dbg !138
  %10 = icmp eq ptr %9, null, !dbg !146
  br i1 %10, label %13, label %11, !dbg !147

11:                                               ; preds = %7
  %12 = atomicrmw add ptr %9, i64 1 seq_cst, align 8, !dbg !148
  br label %15, !dbg !148

13:                                               ; preds = %7
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !138
  call void @llvm.dbg.value(metadata ptr %3, metadata !112, metadata !DIExpression(DW_OP_deref)), !dbg !138
  %14 = call i64 inttoptr (i64 2 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2, ptr noundef nonnull %3, i64 noundef 0) #8, !dbg !149
  br label %15

15:                                               ; preds = %1, %11, %13
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %3) #8, !dbg !150
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %2), !dbg !150
  ret i32 0, !dbg !151
}

; Function Attrs: nounwind
define dso_local i32 @single(ptr noundef %0) #1 section "kprobe/vfs_read" !dbg !152 {
  %2 = alloca i64, align 8
  %3 = alloca i64, align 8
  %4 = alloca i32, align 4
  %5 = alloca i32, align 4
  %6 = alloca i64, align 8
  call void @llvm.dbg.value(metadata ptr %0, metadata !154, metadata !DIExpression()), !dbg !160
  %7 = tail call i64 inttoptr (i64 35 to ptr)() #8, !dbg !161
  %8 = inttoptr i64 %7 to ptr, !dbg !162
  call void @llvm.dbg.value(metadata ptr %8, metadata !155, metadata !DIExpression()), !dbg !160
  call void @llvm.lifetime.start.p0(i64 4, ptr nonnull %4) #8, !dbg !163
  call void @llvm.dbg.value(metadata i32 0, metadata !157, metadata !DIExpression()), !dbg !160
  store i32 0, ptr %4, align 4, !dbg !164, !tbaa !165
  call void @llvm.lifetime.start.p0(i64 4, ptr nonnull %5) #8, !dbg !163
  call void @llvm.dbg.value(metadata i32 0, metadata !158, metadata !DIExpression()), !dbg !160
  store i32 0, ptr %5, align 4, !dbg !167, !tbaa !165
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %6) #8, !dbg !168
  %9 = load i64, ptr @"llvm.task_struct:0:0$0:0", align 8
  %10 = getelementptr i8, ptr %8, i64 %9
  %11 = tail call ptr @llvm.bpf.passthrough.p0.p0(i32 0, ptr %10)
  call void @llvm.dbg.value(metadata ptr %4, metadata !157, metadata !DIExpression(DW_OP_deref)), !dbg !160
  %12 = call i64 inttoptr (i64 113 to ptr)(ptr noundef nonnull %4, i32 noundef 4, ptr noundef %11) #8, !dbg !169
  %13 = load i32, ptr %4, align 4, !dbg !170, !tbaa !165
  call void @llvm.dbg.value(metadata i32 %13, metadata !157, metadata !DIExpression()), !dbg !160
  %14 = zext i32 %13 to i64, !dbg !170
  call void @llvm.dbg.value(metadata i64 %14, metadata !159, metadata !DIExpression()), !dbg !160
  store i64 %14, ptr %6, align 8, !dbg !171, !tbaa !115
  %15 = call fastcc i32 @is_meant(), !dbg !172
  %16 = icmp eq i32 %15, 0, !dbg !172
  br i1 %16, label %19, label %17, !dbg !174

17:                                               ; preds = %1
  call void @llvm.dbg.value(metadata ptr %5, metadata !158, metadata !DIExpression(DW_OP_deref)), !dbg !160
  call void @llvm.dbg.value(metadata ptr %6, metadata !159, metadata !DIExpression(DW_OP_deref)), !dbg !160
  %18 = call i64 inttoptr (i64 2 to ptr)(ptr noundef nonnull @tgids, ptr noundef nonnull %5, ptr noundef nonnull %6, i64 noundef 0) #8, !dbg !175
  br label %19, !dbg !175

19:                                               ; preds = %17, %1
  %20 = call i64 inttoptr (i64 174 to ptr)(ptr noundef %0) #8, !dbg !176
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %2), !dbg !177
  call void @llvm.dbg.value(metadata i64 %20, metadata !111, metadata !DIExpression()), !dbg !177
  store i64 %20, ptr %2, align 8, !tbaa !115
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %3) #8, !dbg !179
  call void @llvm.dbg.value(metadata i64 1, metadata !112, metadata !DIExpression()), !dbg !177
  store i64 1, ptr %3, align 8, !dbg !180, !tbaa !115
  %21 = call fastcc i32 @is_meant(), !dbg !181
  %22 = icmp eq i32 %21, 0, !dbg !181
  br i1 %22, label %31, label %23, !dbg !182

23:                                               ; preds = %19
  %24 = atomicrmw add ptr @total, i64 1 seq_cst, align 8, !dbg !183
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !177
  %25 = call ptr inttoptr (i64 1 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2) #8, !dbg !184
  call void @llvm.dbg.value(metadata ptr %25, metadata !113, metadata !DIExpression()), !dbg !177
  %26 = icmp eq ptr %25, null, !dbg !185
  br i1 %26, label %29, label %27, !dbg !186

27:                                               ; preds = %23
  %28 = atomicrmw add ptr %25, i64 1 seq_cst, align 8, !dbg !187
  br label %31, !dbg !187

29:                                               ; preds = %23
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !177
  call void @llvm.dbg.value(metadata ptr %3, metadata !112, metadata !DIExpression(DW_OP_deref)), !dbg !177
  %30 = call i64 inttoptr (i64 2 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2, ptr noundef nonnull %3, i64 noundef 0) #8, !dbg !188
  br label %31

31:                                               ; preds = %19, %27, %29
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %3) #8, !dbg !189
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %2), !dbg !189
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %6) #8, !dbg !190
  call void @llvm.lifetime.end.p0(i64 4, ptr nonnull %5) #8, !dbg !190
  call void @llvm.lifetime.end.p0(i64 4, ptr nonnull %4) #8, !dbg !190
  ret i32 0, !dbg !191
}

; Function Attrs: mustprogress nocallback nofree nosync nounwind willreturn memory(argmem: readwrite)
declare void @llvm.lifetime.start.p0(i64 immarg, ptr nocapture) #2

; Function Attrs: noinline nounwind
define internal fastcc i32 @is_meant() unnamed_addr #3 !dbg !192 {
  %1 = load i32, ptr @only_tgid, align 4, !dbg !196, !tbaa !165
  %2 = icmp eq i32 %1, 0, !dbg !196
  br i1 %2, label %10, label %3, !dbg !197

3:                                                ; preds = %0
  %4 = tail call i64 inttoptr (i64 14 to ptr)() #8, !dbg !198
  %5 = lshr i64 %4, 32, !dbg !199
  %6 = load i32, ptr @only_tgid, align 4, !dbg !200, !tbaa !165
  %7 = zext i32 %6 to i64, !dbg !200
  %8 = icmp eq i64 %5, %7, !dbg !201
  %9 = zext i1 %8 to i32, !dbg !197
  br label %10, !dbg !197

10:                                               ; preds = %3, %0
  %11 = phi i32 [ 1, %0 ], [ %9, %3 ]
  ret i32 %11, !dbg !202
}

; Function Attrs: mustprogress nocallback nofree nosync nounwind willreturn memory(argmem: readwrite)
declare void @llvm.lifetime.end.p0(i64 immarg, ptr nocapture) #2

; Function Attrs: nounwind
define dso_local i32 @session(ptr noundef %0) #1 section "kprobe.session" !dbg !203 {
  %2 = alloca i64, align 8
  %3 = alloca i64, align 8
  call void @llvm.dbg.value(metadata ptr %0, metadata !205, metadata !DIExpression()), !dbg !206
  %4 = tail call i64 inttoptr (i64 174 to ptr)(ptr noundef %0) #8, !dbg !207
  %5 = tail call i1 @bpf_session_is_return(ptr noundef %0) #8, !dbg !208
  %6 = select i1 %5, i64 1000, i64 0, !dbg !208
  %7 = add i64 %6, %4, !dbg !209
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %2), !dbg !210
  call void @llvm.dbg.value(metadata i64 %7, metadata !111, metadata !DIExpression()), !dbg !210
  store i64 %7, ptr %2, align 8, !tbaa !115
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %3) #8, !dbg !212
  call void @llvm.dbg.value(metadata i64 1, metadata !112, metadata !DIExpression()), !dbg !210
  store i64 1, ptr %3, align 8, !dbg !213, !tbaa !115
  %8 = tail call fastcc i32 @is_meant(), !dbg !214
  %9 = icmp eq i32 %8, 0, !dbg !214
  br i1 %9, label %18, label %10, !dbg !215

10:                                               ; preds = %1
  %11 = atomicrmw add ptr @total, i64 1 seq_cst, align 8, !dbg !216
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !210
  %12 = call ptr inttoptr (i64 1 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2) #8, !dbg !217
  call void @llvm.dbg.value(metadata ptr %12, metadata !113, metadata !DIExpression()), !dbg !210
  %13 = icmp eq ptr %12, null, !dbg !218
  br i1 %13, label %16, label %14, !dbg !219

14:                                               ; preds = %10
  %15 = atomicrmw add ptr %12, i64 1 seq_cst, align 8, !dbg !220
  br label %18, !dbg !220

16:                                               ; preds = %10
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !210
  call void @llvm.dbg.value(metadata ptr %3, metadata !112, metadata !DIExpression(DW_OP_deref)), !dbg !210
  %17 = call i64 inttoptr (i64 2 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2, ptr noundef nonnull %3, i64 noundef 0) #8, !dbg !221
  br label %18

18:                                               ; preds = %1, %14, %16
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %3) #8, !dbg !222
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %2), !dbg !222
  ret i32 0, !dbg !223
}

declare !dbg !224 extern_weak dso_local i1 @bpf_session_is_return(ptr noundef) local_unnamed_addr #4 section ".ksyms"

; Function Attrs: nounwind
define dso_local i32 @entry(ptr noundef %0) #1 section "fentry/vfs_read" !dbg !230 {
  %2 = alloca i64, align 8
  %3 = alloca i64, align 8
  call void @llvm.dbg.value(metadata ptr %0, metadata !234, metadata !DIExpression()), !dbg !235
  %4 = tail call i64 inttoptr (i64 174 to ptr)(ptr noundef %0) #8, !dbg !236
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %2), !dbg !237
  call void @llvm.dbg.value(metadata i64 %4, metadata !111, metadata !DIExpression()), !dbg !237
  store i64 %4, ptr %2, align 8, !tbaa !115
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %3) #8, !dbg !239
  call void @llvm.dbg.value(metadata i64 1, metadata !112, metadata !DIExpression()), !dbg !237
  store i64 1, ptr %3, align 8, !dbg !240, !tbaa !115
  %5 = tail call fastcc i32 @is_meant(), !dbg !241
  %6 = icmp eq i32 %5, 0, !dbg !241
  br i1 %6, label %15, label %7, !dbg !242

7:                                                ; preds = %1
  %8 = atomicrmw add ptr @total, i64 1 seq_cst, align 8, !dbg !243
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !237
  %9 = call ptr inttoptr (i64 1 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2) #8, !dbg !244
  call void @llvm.dbg.value(metadata ptr %9, metadata !113, metadata !DIExpression()), !dbg !237
  %10 = icmp eq ptr %9, null, !dbg !245
  br i1 %10, label %13, label %11, !dbg !246

11:                                               ; preds = %7
  %12 = atomicrmw add ptr %9, i64 1 seq_cst, align 8, !dbg !247
  br label %15, !dbg !247

13:                                               ; preds = %7
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !237
  call void @llvm.dbg.value(metadata ptr %3, metadata !112, metadata !DIExpression(DW_OP_deref)), !dbg !237
  %14 = call i64 inttoptr (i64 2 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2, ptr noundef nonnull %3, i64 noundef 0) #8, !dbg !248
  br label %15

15:                                               ; preds = %1, %11, %13
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %3) #8, !dbg !249
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %2), !dbg !249
  ret i32 0, !dbg !250
}

; Function Attrs: nounwind
define dso_local i32 @entry_multi(ptr noundef %0) #1 section "fentry.multi/vfs_*" !dbg !251 {
  %2 = alloca i64, align 8
  %3 = alloca i64, align 8
  call void @llvm.dbg.value(metadata ptr %0, metadata !253, metadata !DIExpression()), !dbg !254
  %4 = tail call i64 inttoptr (i64 174 to ptr)(ptr noundef %0) #8, !dbg !255
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %2), !dbg !256
  call void @llvm.dbg.value(metadata i64 %4, metadata !111, metadata !DIExpression()), !dbg !256
  store i64 %4, ptr %2, align 8, !tbaa !115
  call void @llvm.lifetime.start.p0(i64 8, ptr nonnull %3) #8, !dbg !258
  call void @llvm.dbg.value(metadata i64 1, metadata !112, metadata !DIExpression()), !dbg !256
  store i64 1, ptr %3, align 8, !dbg !259, !tbaa !115
  %5 = tail call fastcc i32 @is_meant(), !dbg !260
  %6 = icmp eq i32 %5, 0, !dbg !260
  br i1 %6, label %15, label %7, !dbg !261

7:                                                ; preds = %1
  %8 = atomicrmw add ptr @total, i64 1 seq_cst, align 8, !dbg !262
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !256
  %9 = call ptr inttoptr (i64 1 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2) #8, !dbg !263
  call void @llvm.dbg.value(metadata ptr %9, metadata !113, metadata !DIExpression()), !dbg !256
  %10 = icmp eq ptr %9, null, !dbg !264
  br i1 %10, label %13, label %11, !dbg !265

11:                                               ; preds = %7
  %12 = atomicrmw add ptr %9, i64 1 seq_cst, align 8, !dbg !266
  br label %15, !dbg !266

13:                                               ; preds = %7
  call void @llvm.dbg.value(metadata ptr %2, metadata !111, metadata !DIExpression(DW_OP_deref)), !dbg !256
  call void @llvm.dbg.value(metadata ptr %3, metadata !112, metadata !DIExpression(DW_OP_deref)), !dbg !256
  %14 = call i64 inttoptr (i64 2 to ptr)(ptr noundef nonnull @hits, ptr noundef nonnull %2, ptr noundef nonnull %3, i64 noundef 0) #8, !dbg !267
  br label %15

15:                                               ; preds = %1, %11, %13
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %3) #8, !dbg !268
  call void @llvm.lifetime.end.p0(i64 8, ptr nonnull %2), !dbg !268
  ret i32 0, !dbg !269
}

; Function Attrs: mustprogress nofree norecurse nosync nounwind willreturn memory(none)
define dso_local i32 @packet(ptr nocapture readnone %0) #5 section "xdp" !dbg !270 {
  call void @llvm.dbg.value(metadata ptr poison, metadata !274, metadata !DIExpression()), !dbg !275
  ret i32 2, !dbg !276
}

; Function Attrs: nofree nosync nounwind memory(none)
declare ptr @llvm.bpf.passthrough.p0.p0(i32, ptr) #6

; Function Attrs: nocallback nofree nosync nounwind speculatable willreturn memory(none)
declare void @llvm.dbg.value(metadata, metadata, metadata) #7

attributes #0 = { "btf_ama" }
attributes #1 = { nounwind "frame-pointer"="all" "no-trapping-math"="true" "stack-protector-buffer-size"="8" "target-cpu"="v3" }
attributes #2 = { mustprogress nocallback nofree nosync nounwind willreturn memory(argmem: readwrite) }
attributes #3 = { noinline nounwind "frame-pointer"="all" "no-trapping-math"="true" "stack-protector-buffer-size"="8" "target-cpu"="v3" }
attributes #4 = { "frame-pointer"="all" "no-trapping-math"="true" "stack-protector-buffer-size"="8" "target-cpu"="v3" }
attributes #5 = { mustprogress nofree norecurse nosync nounwind willreturn memory(none) "frame-pointer"="all" "no-trapping-math"="true" "stack-protector-buffer-size"="8" "target-cpu"="v3" }
attributes #6 = { nofree nosync nounwind memory(none) }
attributes #7 = { nocallback nofree nosync nounwind speculatable willreturn memory(none) }
attributes #8 = { nounwind }

!llvm.dbg.cu = !{!2}
!llvm.module.flags = !{!92, !93, !94, !95}
!llvm.ident = !{!96}

!0 = !DIGlobalVariableExpression(var: !1, expr: !DIExpression())
!1 = distinct !DIGlobalVariable(name: "only_tgid", scope: !2, file: !3, line: 47, type: !30, isLocal: false, isDefinition: true)
!2 = distinct !DICompileUnit(language: DW_LANG_C11, file: !3, producer: "Debian clang version 16.0.6 (15~deb12u1)", isOptimized: true, runtimeVersion: 0, emissionKind: FullDebug, retainedTypes: !4, globals: !6, splitDebugInlining: false, nameTableKind: None)
!3 = !DIFile(filename: "probes.c", directory: ".", checksumkind: CSK_MD5, checksum: "f66a89caa553ec9b8e0504ccd2190977")
!4 = !{!5}
!5 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: null, size: 64)
!6 = !{!0, !7, !11, !17, !23, !34, !40, !46, !64, !81, !87}
!7 = !DIGlobalVariableExpression(var: !8, expr: !DIExpression())
!8 = distinct !DIGlobalVariable(name: "total", scope: !2, file: !3, line: 48, type: !9, isLocal: false, isDefinition: true)
!9 = !DIDerivedType(tag: DW_TAG_typedef, name: "u64", file: !3, line: 10, baseType: !10)
!10 = !DIBasicType(name: "unsigned long long", size: 64, encoding: DW_ATE_unsigned)
!11 = !DIGlobalVariableExpression(var: !12, expr: !DIExpression())
!12 = distinct !DIGlobalVariable(name: "get_attach_cookie", scope: !2, file: !3, line: 17, type: !13, isLocal: true, isDefinition: true)
!13 = !DIDerivedType(tag: DW_TAG_const_type, baseType: !14)
!14 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !15, size: 64)
!15 = !DISubroutineType(types: !16)
!16 = !{!9, !5}
!17 = !DIGlobalVariableExpression(var: !18, expr: !DIExpression())
!18 = distinct !DIGlobalVariable(name: "get_current_task", scope: !2, file: !3, line: 30, type: !19, isLocal: true, isDefinition: true)
!19 = !DIDerivedType(tag: DW_TAG_const_type, baseType: !20)
!20 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !21, size: 64)
!21 = !DISubroutineType(types: !22)
!22 = !{!9}
!23 = !DIGlobalVariableExpression(var: !24, expr: !DIExpression())
!24 = distinct !DIGlobalVariable(name: "probe_read_kernel", scope: !2, file: !3, line: 31, type: !25, isLocal: true, isDefinition: true)
!25 = !DIDerivedType(tag: DW_TAG_const_type, baseType: !26)
!26 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !27, size: 64)
!27 = !DISubroutineType(types: !28)
!28 = !{!29, !5, !30, !32}
!29 = !DIBasicType(name: "long", size: 64, encoding: DW_ATE_signed)
!30 = !DIDerivedType(tag: DW_TAG_typedef, name: "u32", file: !3, line: 9, baseType: !31)
!31 = !DIBasicType(name: "unsigned int", size: 32, encoding: DW_ATE_unsigned)
!32 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !33, size: 64)
!33 = !DIDerivedType(tag: DW_TAG_const_type, baseType: null)
!34 = !DIGlobalVariableExpression(var: !35, expr: !DIExpression())
!35 = distinct !DIGlobalVariable(name: "update", scope: !2, file: !3, line: 15, type: !36, isLocal: true, isDefinition: true)
!36 = !DIDerivedType(tag: DW_TAG_const_type, baseType: !37)
!37 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !38, size: 64)
!38 = !DISubroutineType(types: !39)
!39 = !{!29, !5, !32, !32, !9}
!40 = !DIGlobalVariableExpression(var: !41, expr: !DIExpression())
!41 = distinct !DIGlobalVariable(name: "program_license", scope: !2, file: !3, line: 120, type: !42, isLocal: false, isDefinition: true)
!42 = !DICompositeType(tag: DW_TAG_array_type, baseType: !43, size: 104, elements: !44)
!43 = !DIBasicType(name: "char", size: 8, encoding: DW_ATE_signed_char)
!44 = !{!45}
!45 = !DISubrange(count: 13)
!46 = !DIGlobalVariableExpression(var: !47, expr: !DIExpression())
!47 = distinct !DIGlobalVariable(name: "hits", scope: !2, file: !3, line: 38, type: !48, isLocal: false, isDefinition: true)
!48 = distinct !DICompositeType(tag: DW_TAG_structure_type, file: !3, line: 33, size: 256, elements: !49)
!49 = !{!50, !56, !61, !63}
!50 = !DIDerivedType(tag: DW_TAG_member, name: "type", scope: !48, file: !3, line: 34, baseType: !51, size: 64)
!51 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !52, size: 64)
!52 = !DICompositeType(tag: DW_TAG_array_type, baseType: !53, size: 32, elements: !54)
!53 = !DIBasicType(name: "int", size: 32, encoding: DW_ATE_signed)
!54 = !{!55}
!55 = !DISubrange(count: 1)
!56 = !DIDerivedType(tag: DW_TAG_member, name: "max_entries", scope: !48, file: !3, line: 35, baseType: !57, size: 64, offset: 64)
!57 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !58, size: 64)
!58 = !DICompositeType(tag: DW_TAG_array_type, baseType: !53, size: 32768, elements: !59)
!59 = !{!60}
!60 = !DISubrange(count: 1024)
!61 = !DIDerivedType(tag: DW_TAG_member, name: "key", scope: !48, file: !3, line: 36, baseType: !62, size: 64, offset: 128)
!62 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !9, size: 64)
!63 = !DIDerivedType(tag: DW_TAG_member, name: "value", scope: !48, file: !3, line: 37, baseType: !62, size: 64, offset: 192)
!64 = !DIGlobalVariableExpression(var: !65, expr: !DIExpression())
!65 = distinct !DIGlobalVariable(name: "tgids", scope: !2, file: !3, line: 45, type: !66, isLocal: false, isDefinition: true)
!66 = distinct !DICompositeType(tag: DW_TAG_structure_type, file: !3, line: 40, size: 256, elements: !67)
!67 = !{!68, !73, !78, !80}
!68 = !DIDerivedType(tag: DW_TAG_member, name: "type", scope: !66, file: !3, line: 41, baseType: !69, size: 64)
!69 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !70, size: 64)
!70 = !DICompositeType(tag: DW_TAG_array_type, baseType: !53, size: 64, elements: !71)
!71 = !{!72}
!72 = !DISubrange(count: 2)
!73 = !DIDerivedType(tag: DW_TAG_member, name: "max_entries", scope: !66, file: !3, line: 42, baseType: !74, size: 64, offset: 64)
!74 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !75, size: 64)
!75 = !DICompositeType(tag: DW_TAG_array_type, baseType: !53, size: 128, elements: !76)
!76 = !{!77}
!77 = !DISubrange(count: 4)
!78 = !DIDerivedType(tag: DW_TAG_member, name: "key", scope: !66, file: !3, line: 43, baseType: !79, size: 64, offset: 128)
!79 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !30, size: 64)
!80 = !DIDerivedType(tag: DW_TAG_member, name: "value", scope: !66, file: !3, line: 44, baseType: !62, size: 64, offset: 192)
!81 = !DIGlobalVariableExpression(var: !82, expr: !DIExpression())
!82 = distinct !DIGlobalVariable(name: "lookup", scope: !2, file: !3, line: 14, type: !83, isLocal: true, isDefinition: true)
!83 = !DIDerivedType(tag: DW_TAG_const_type, baseType: !84)
!84 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !85, size: 64)
!85 = !DISubroutineType(types: !86)
!86 = !{!5, !5, !32}
!87 = !DIGlobalVariableExpression(var: !88, expr: !DIExpression())
!88 = distinct !DIGlobalVariable(name: "get_pid_tgid", scope: !2, file: !3, line: 16, type: !19, isLocal: true, isDefinition: true)
!89 = distinct !DICompositeType(tag: DW_TAG_structure_type, name: "task_struct", file: !3, line: 26, size: 32, elements: !90)
!90 = !{!91}
!91 = !DIDerivedType(tag: DW_TAG_member, name: "tgid", scope: !89, file: !3, line: 27, baseType: !53, size: 32)
!92 = !{i32 7, !"Dwarf Version", i32 5}
!93 = !{i32 2, !"Debug Info Version", i32 3}
!94 = !{i32 1, !"wchar_size", i32 4}
!95 = !{i32 7, !"frame-pointer", i32 2}
!96 = !{!"Debian clang version 16.0.6 (15~deb12u1)"}
!97 = distinct !DISubprogram(name: "multi", scope: !3, file: !3, line: 71, type: !98, scopeLine: 72, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !102)
!98 = !DISubroutineType(types: !99)
!99 = !{!53, !100}
!100 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !101, size: 64)
!101 = !DICompositeType(tag: DW_TAG_structure_type, name: "pt_regs", file: !3, line: 23, flags: DIFlagFwdDecl)
!102 = !{!103}
!103 = !DILocalVariable(name: "ctx", arg: 1, scope: !97, file: !3, line: 71, type: !100)
!104 = !DILocation(line: 0, scope: !97)
!105 = !DILocation(line: 73, column: 15, scope: !97)
!106 = !DILocation(line: 0, scope: !107, inlinedAt: !114)
!107 = distinct !DISubprogram(name: "count", scope: !3, file: !3, line: 55, type: !108, scopeLine: 56, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagLocalToUnit | DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !110)
!108 = !DISubroutineType(types: !109)
!109 = !{!53, !9}
!110 = !{!111, !112, !113}
!111 = !DILocalVariable(name: "key", arg: 1, scope: !107, file: !3, line: 55, type: !9)
!112 = !DILocalVariable(name: "one", scope: !107, file: !3, line: 57, type: !9)
!113 = !DILocalVariable(name: "found", scope: !107, file: !3, line: 57, type: !62)
!114 = distinct !DILocation(line: 73, column: 9, scope: !97)
!115 = !{!116, !116, i64 0}
!116 = !{!"long long", !117, i64 0}
!117 = !{!"omnipotent char", !118, i64 0}
!118 = !{!"Simple C/C++ TBAA"}
!119 = !DILocation(line: 57, column: 2, scope: !107, inlinedAt: !114)
!120 = !DILocation(line: 57, column: 6, scope: !107, inlinedAt: !114)
!121 = !DILocation(line: 59, column: 7, scope: !122, inlinedAt: !114)
!122 = distinct !DILexicalBlock(scope: !107, file: !3, line: 59, column: 6)
!123 = !DILocation(line: 59, column: 6, scope: !107, inlinedAt: !114)
!124 = !DILocation(line: 61, column: 2, scope: !107, inlinedAt: !114)
!125 = !DILocation(line: 62, column: 10, scope: !107, inlinedAt: !114)
!126 = !DILocation(line: 63, column: 6, scope: !127, inlinedAt: !114)
!127 = distinct !DILexicalBlock(scope: !107, file: !3, line: 63, column: 6)
!128 = !DILocation(line: 63, column: 6, scope: !107, inlinedAt: !114)
!129 = !DILocation(line: 64, column: 3, scope: !127, inlinedAt: !114)
!130 = !DILocation(line: 66, column: 3, scope: !127, inlinedAt: !114)
!131 = !DILocation(line: 68, column: 1, scope: !107, inlinedAt: !114)
!132 = !DILocation(line: 73, column: 2, scope: !97)
!133 = distinct !DISubprogram(name: "multi_return", scope: !3, file: !3, line: 77, type: !98, scopeLine: 78, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !134)
!134 = !{!135}
!135 = !DILocalVariable(name: "ctx", arg: 1, scope: !133, file: !3, line: 77, type: !100)
!136 = !DILocation(line: 0, scope: !133)
!137 = !DILocation(line: 79, column: 15, scope: !133)
!138 = !DILocation(line: 0, scope: !107, inlinedAt: !139)
!139 = distinct !DILocation(line: 79, column: 9, scope: !133)
!140 = !DILocation(line: 57, column: 2, scope: !107, inlinedAt: !139)
!141 = !DILocation(line: 57, column: 6, scope: !107, inlinedAt: !139)
!142 = !DILocation(line: 59, column: 7, scope: !122, inlinedAt: !139)
!143 = !DILocation(line: 59, column: 6, scope: !107, inlinedAt: !139)
!144 = !DILocation(line: 61, column: 2, scope: !107, inlinedAt: !139)
!145 = !DILocation(line: 62, column: 10, scope: !107, inlinedAt: !139)
!146 = !DILocation(line: 63, column: 6, scope: !127, inlinedAt: !139)
!147 = !DILocation(line: 63, column: 6, scope: !107, inlinedAt: !139)
!148 = !DILocation(line: 64, column: 3, scope: !127, inlinedAt: !139)
!149 = !DILocation(line: 66, column: 3, scope: !127, inlinedAt: !139)
!150 = !DILocation(line: 68, column: 1, scope: !107, inlinedAt: !139)
!151 = !DILocation(line: 79, column: 2, scope: !133)
!152 = distinct !DISubprogram(name: "single", scope: !3, file: !3, line: 83, type: !98, scopeLine: 84, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !153)
!153 = !{!154, !155, !157, !158, !159}
!154 = !DILocalVariable(name: "ctx", arg: 1, scope: !152, file: !3, line: 83, type: !100)
!155 = !DILocalVariable(name: "task", scope: !152, file: !3, line: 85, type: !156)
!156 = !DIDerivedType(tag: DW_TAG_pointer_type, baseType: !89, size: 64)
!157 = !DILocalVariable(name: "tgid", scope: !152, file: !3, line: 86, type: !30)
!158 = !DILocalVariable(name: "place", scope: !152, file: !3, line: 86, type: !30)
!159 = !DILocalVariable(name: "wide", scope: !152, file: !3, line: 87, type: !9)
!160 = !DILocation(line: 0, scope: !152)
!161 = !DILocation(line: 85, column: 37, scope: !152)
!162 = !DILocation(line: 85, column: 29, scope: !152)
!163 = !DILocation(line: 86, column: 2, scope: !152)
!164 = !DILocation(line: 86, column: 6, scope: !152)
!165 = !{!166, !166, i64 0}
!166 = !{!"int", !117, i64 0}
!167 = !DILocation(line: 86, column: 16, scope: !152)
!168 = !DILocation(line: 87, column: 2, scope: !152)
!169 = !DILocation(line: 89, column: 2, scope: !152)
!170 = !DILocation(line: 90, column: 9, scope: !152)
!171 = !DILocation(line: 90, column: 7, scope: !152)
!172 = !DILocation(line: 91, column: 6, scope: !173)
!173 = distinct !DILexicalBlock(scope: !152, file: !3, line: 91, column: 6)
!174 = !DILocation(line: 91, column: 6, scope: !152)
!175 = !DILocation(line: 92, column: 3, scope: !173)
!176 = !DILocation(line: 93, column: 15, scope: !152)
!177 = !DILocation(line: 0, scope: !107, inlinedAt: !178)
!178 = distinct !DILocation(line: 93, column: 9, scope: !152)
!179 = !DILocation(line: 57, column: 2, scope: !107, inlinedAt: !178)
!180 = !DILocation(line: 57, column: 6, scope: !107, inlinedAt: !178)
!181 = !DILocation(line: 59, column: 7, scope: !122, inlinedAt: !178)
!182 = !DILocation(line: 59, column: 6, scope: !107, inlinedAt: !178)
!183 = !DILocation(line: 61, column: 2, scope: !107, inlinedAt: !178)
!184 = !DILocation(line: 62, column: 10, scope: !107, inlinedAt: !178)
!185 = !DILocation(line: 63, column: 6, scope: !127, inlinedAt: !178)
!186 = !DILocation(line: 63, column: 6, scope: !107, inlinedAt: !178)
!187 = !DILocation(line: 64, column: 3, scope: !127, inlinedAt: !178)
!188 = !DILocation(line: 66, column: 3, scope: !127, inlinedAt: !178)
!189 = !DILocation(line: 68, column: 1, scope: !107, inlinedAt: !178)
!190 = !DILocation(line: 94, column: 1, scope: !152)
!191 = !DILocation(line: 93, column: 2, scope: !152)
!192 = distinct !DISubprogram(name: "is_meant", scope: !3, file: !3, line: 50, type: !193, scopeLine: 51, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagLocalToUnit | DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !195)
!193 = !DISubroutineType(types: !194)
!194 = !{!53}
!195 = !{}
!196 = !DILocation(line: 52, column: 10, scope: !192)
!197 = !DILocation(line: 52, column: 20, scope: !192)
!198 = !DILocation(line: 52, column: 23, scope: !192)
!199 = !DILocation(line: 52, column: 38, scope: !192)
!200 = !DILocation(line: 52, column: 47, scope: !192)
!201 = !DILocation(line: 52, column: 44, scope: !192)
!202 = !DILocation(line: 52, column: 2, scope: !192)
!203 = distinct !DISubprogram(name: "session", scope: !3, file: !3, line: 97, type: !98, scopeLine: 98, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !204)
!204 = !{!205}
!205 = !DILocalVariable(name: "ctx", arg: 1, scope: !203, file: !3, line: 97, type: !100)
!206 = !DILocation(line: 0, scope: !203)
!207 = !DILocation(line: 99, column: 15, scope: !203)
!208 = !DILocation(line: 99, column: 41, scope: !203)
!209 = !DILocation(line: 99, column: 38, scope: !203)
!210 = !DILocation(line: 0, scope: !107, inlinedAt: !211)
!211 = distinct !DILocation(line: 99, column: 9, scope: !203)
!212 = !DILocation(line: 57, column: 2, scope: !107, inlinedAt: !211)
!213 = !DILocation(line: 57, column: 6, scope: !107, inlinedAt: !211)
!214 = !DILocation(line: 59, column: 7, scope: !122, inlinedAt: !211)
!215 = !DILocation(line: 59, column: 6, scope: !107, inlinedAt: !211)
!216 = !DILocation(line: 61, column: 2, scope: !107, inlinedAt: !211)
!217 = !DILocation(line: 62, column: 10, scope: !107, inlinedAt: !211)
!218 = !DILocation(line: 63, column: 6, scope: !127, inlinedAt: !211)
!219 = !DILocation(line: 63, column: 6, scope: !107, inlinedAt: !211)
!220 = !DILocation(line: 64, column: 3, scope: !127, inlinedAt: !211)
!221 = !DILocation(line: 66, column: 3, scope: !127, inlinedAt: !211)
!222 = !DILocation(line: 68, column: 1, scope: !107, inlinedAt: !211)
!223 = !DILocation(line: 99, column: 2, scope: !203)
!224 = !DISubprogram(name: "bpf_session_is_return", scope: !3, file: !3, line: 21, type: !225, flags: DIFlagPrototyped, spFlags: DISPFlagOptimized, retainedNodes: !228)
!225 = !DISubroutineType(types: !226)
!226 = !{!227, !5}
!227 = !DIBasicType(name: "_Bool", size: 8, encoding: DW_ATE_boolean)
!228 = !{!229}
!229 = !DILocalVariable(name: "ctx", arg: 1, scope: !224, file: !3, line: 21, type: !5)
!230 = distinct !DISubprogram(name: "entry", scope: !3, file: !3, line: 103, type: !231, scopeLine: 104, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !233)
!231 = !DISubroutineType(types: !232)
!232 = !{!53, !62}
!233 = !{!234}
!234 = !DILocalVariable(name: "ctx", arg: 1, scope: !230, file: !3, line: 103, type: !62)
!235 = !DILocation(line: 0, scope: !230)
!236 = !DILocation(line: 105, column: 15, scope: !230)
!237 = !DILocation(line: 0, scope: !107, inlinedAt: !238)
!238 = distinct !DILocation(line: 105, column: 9, scope: !230)
!239 = !DILocation(line: 57, column: 2, scope: !107, inlinedAt: !238)
!240 = !DILocation(line: 57, column: 6, scope: !107, inlinedAt: !238)
!241 = !DILocation(line: 59, column: 7, scope: !122, inlinedAt: !238)
!242 = !DILocation(line: 59, column: 6, scope: !107, inlinedAt: !238)
!243 = !DILocation(line: 61, column: 2, scope: !107, inlinedAt: !238)
!244 = !DILocation(line: 62, column: 10, scope: !107, inlinedAt: !238)
!245 = !DILocation(line: 63, column: 6, scope: !127, inlinedAt: !238)
!246 = !DILocation(line: 63, column: 6, scope: !107, inlinedAt: !238)
!247 = !DILocation(line: 64, column: 3, scope: !127, inlinedAt: !238)
!248 = !DILocation(line: 66, column: 3, scope: !127, inlinedAt: !238)
!249 = !DILocation(line: 68, column: 1, scope: !107, inlinedAt: !238)
!250 = !DILocation(line: 105, column: 2, scope: !230)
!251 = distinct !DISubprogram(name: "entry_multi", scope: !3, file: !3, line: 109, type: !231, scopeLine: 110, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !252)
!252 = !{!253}
!253 = !DILocalVariable(name: "ctx", arg: 1, scope: !251, file: !3, line: 109, type: !62)
!254 = !DILocation(line: 0, scope: !251)
!255 = !DILocation(line: 111, column: 15, scope: !251)
!256 = !DILocation(line: 0, scope: !107, inlinedAt: !257)
!257 = distinct !DILocation(line: 111, column: 9, scope: !251)
!258 = !DILocation(line: 57, column: 2, scope: !107, inlinedAt: !257)
!259 = !DILocation(line: 57, column: 6, scope: !107, inlinedAt: !257)
!260 = !DILocation(line: 59, column: 7, scope: !122, inlinedAt: !257)
!261 = !DILocation(line: 59, column: 6, scope: !107, inlinedAt: !257)
!262 = !DILocation(line: 61, column: 2, scope: !107, inlinedAt: !257)
!263 = !DILocation(line: 62, column: 10, scope: !107, inlinedAt: !257)
!264 = !DILocation(line: 63, column: 6, scope: !127, inlinedAt: !257)
!265 = !DILocation(line: 63, column: 6, scope: !107, inlinedAt: !257)
!266 = !DILocation(line: 64, column: 3, scope: !127, inlinedAt: !257)
!267 = !DILocation(line: 66, column: 3, scope: !127, inlinedAt: !257)
!268 = !DILocation(line: 68, column: 1, scope: !107, inlinedAt: !257)
!269 = !DILocation(line: 111, column: 2, scope: !251)
!270 = distinct !DISubprogram(name: "packet", scope: !3, file: !3, line: 115, type: !271, scopeLine: 116, flags: DIFlagPrototyped | DIFlagAllCallsDescribed, spFlags: DISPFlagDefinition | DISPFlagOptimized, unit: !2, retainedNodes: !273)
!271 = !DISubroutineType(types: !272)
!272 = !{!53, !5}
!273 = !{!274}
!274 = !DILocalVariable(name: "ctx", arg: 1, scope: !270, file: !3, line: 115, type: !5)
!275 = !DILocation(line: 0, scope: !270)
!276 = !DILocation(line: 117, column: 2, scope: !270)
